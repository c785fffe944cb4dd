"""The command line that starts the page."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio")

from iclight.cli.serve import parse_auth, parse_options
from iclight.errors import SettingsError


def test_auth_is_a_name_and_a_password():
    assert parse_auth("anna:pass:word") == ("anna", "pass:word")
    assert parse_auth(None) is None
    for wrong in ("anna", "anna:", ":secret", ""):
        with pytest.raises(SettingsError, match="USER:PASSWORD"):
            parse_auth(wrong)


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
