# `make app` sets everything up and opens the page; `make test` sets everything up and runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1

.PHONY: help setup app app-bg app-env test test-slow test-gpu gpu-check gpu-train test-floor soak bench train evaluate lint format clean

help:
	@echo "make app        the page for words and light directions    (ARGS=\"--port 7861 --model sd15\")"
	@echo "make app-bg     the page for backgrounds"
	@echo "make app-env    the page for environment maps"
	@echo "make test       the tests        make lint   style and types      make bench   speed and memory"
	@echo "make soak       a served page under ten minutes of visitors, some of them hostile"
	@echo "make train      mini, from nothing      make evaluate   how good a model is (ARGS=\"--model FOLDER\")"
	@echo "make gpu-check  an NVIDIA GPU's eight minutes: tests, benchmark    make gpu-train   its seven: mini, trained on"
	@echo "make setup      only set up $(VENV); then $(BIN)/iclight --help"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/setup.py
	$(PYTHON) tools/setup.py $(VENV)

$(VENV)/.ready-test: pyproject.toml tools/setup.py
	$(PYTHON) tools/setup.py $(VENV) --extra test

app: $(VENV)/.ready
	$(BIN)/python app.py $(ARGS)

app-bg: $(VENV)/.ready
	$(BIN)/python app_bg.py $(ARGS)

app-env: $(VENV)/.ready
	$(BIN)/python app_env.py $(ARGS)

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m slow $(ARGS)

test-gpu: $(VENV)/.ready-test
	$(BIN)/python -m pytest -m gpu $(ARGS)

gpu-check: $(VENV)/.ready-test
	PYTHON=$(BIN)/python tools/gpu/check.sh $(ARGS)

gpu-train: $(VENV)/.ready-train
	PYTHON=$(BIN)/python tools/gpu/train.sh $(ARGS)

soak: $(VENV)/.ready-test
	$(BIN)/python tests/soak.py $(ARGS)

test-floor:
	$(PYTHON) tools/setup.py .venv-floor --extra test --floor
	.venv-floor/bin/python -m pytest $(ARGS)

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(ARGS)

$(VENV)/.ready-train: pyproject.toml tools/setup.py
	$(PYTHON) tools/setup.py $(VENV) --extra train

train: $(VENV)/.ready-train
	BIN=$(BIN) tools/train_mini.sh $(ARGS)

evaluate: $(VENV)/.ready-train
	$(BIN)/python -m training.evaluation.evaluate $(ARGS)

lint: $(VENV)/.ready-test
	rm -f iclight/studio/*/*.pyi
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.ready-test
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-floor build dist *.egg-info
