"""The command line that starts the page."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("gradio")

from iclight.cli.serve import keep_localhost_off_proxies, parse_auth, parse_options
from iclight.errors import SettingsError


def test_auth_is_a_name_and_a_password():
    assert parse_auth("anna:pass:word") == ("anna", "pass:word")
    assert parse_auth(None) is None
    for wrong in ("anna", "anna:", ":secret", ""):
        with pytest.raises(SettingsError, match="USER:PASSWORD"):
            parse_auth(wrong)


def test_localhost_is_kept_off_proxies_without_losing_what_was_there(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.delenv("no_proxy", raising=False)
    keep_localhost_off_proxies()
    keep_localhost_off_proxies()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "intranet.example,localhost,127.0.0.1,::1"
    monkeypatch.setenv("NO_PROXY", "*")
    keep_localhost_off_proxies()
    assert os.environ["NO_PROXY"] == "*"


def test_pages_take_every_option_of_the_engine_and_the_server():
    options = parse_options(
        "fc",
        ["--model", "sd15", "--offset", "fcon", "--lora", "a.safetensors:0.5", "--lora", "b.safetensors", "--matting",
         "rmbg", "--device", "cuda", "--dtype", "float16", "--offload", "--host", "0.0.0.0", "--port", "7861",
         "--share", "--auth", "a:b"],
    )  # fmt: skip
    assert options.lora == ["a.safetensors:0.5", "b.safetensors"]
    assert options.host == "0.0.0.0"
    assert parse_options("fc", []).host is None, "this machine only, unless asked"
