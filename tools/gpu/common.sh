# What check.sh and train.sh share; to be sourced. Sets ROOT, PYTHON, TINY and OUT, and begins the clock.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
STARTED=$SECONDS
TINY=""
KIT=${KIT:-build/gpu-kit}
OUT=${OUT:-build/gpu}
mkdir -p "$OUT"

# The virtual environment's Python, or the machine's own where there is none.
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  if [ -x .venv/bin/python ]; then PYTHON=$ROOT/.venv/bin/python; fi
fi
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
# Nothing may wait for a network that is not there.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

say() { echo "[$((SECONDS - STARTED)) s] $*" >&2; }

# Packages that tools/gpu/pack.py packed, those alone that this Python lacks.
if compgen -G "$KIT/wheels/*.whl" >/dev/null; then
  for wheel in "$KIT"/wheels/*.whl; do
    name=$(basename "$wheel" | cut -d- -f1)
    if ! "$PYTHON" -c "import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])" "$name" 2>/dev/null; then
      "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$KIT/site" "$wheel" ||
        say "$wheel does not fit this Python; going on without it."
    fi
  done
  export PYTHONPATH=$PYTHONPATH:$ROOT/$KIT/site
fi

need_cuda() { # unless --tiny
  if [ -n "$TINY" ]; then return; fi
  if ! "$PYTHON" -c "import torch, sys; sys.exit(not torch.cuda.is_available())"; then
    say "This PyTorch sees no CUDA GPU. --tiny does the same at toy size on the CPU."
    exit 2
  fi
}
