"""Start a page: options, safe launch settings, ZeroGPU where there is one."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import IclightError, SettingsError
from ..options import add_engine_options, engine_arguments

HERE = Path(__file__).parent
SCRIPTS = ("keys.js", "faders.js")
PAGE_NAMES = {"fc": "app.py", "fbc": "app_bg.py", "env": "app_env.py"}
# Panoramas hold four bytes and more for each pixel.
UPLOAD_LIMIT = "80mb"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
GPU_SECONDS = 120


def parse_options(workflow: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The page's command line."""
    parser = argparse.ArgumentParser(prog=PAGE_NAMES[workflow], description="Open the relighting page in a browser.")
    add_engine_options(parser)
    group = parser.add_argument_group("server")
    group.add_argument("--host", help="address to listen on (default 127.0.0.1: this machine only)")
    group.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    group.add_argument("--share", action="store_true", help="make a public link through Gradio")
    group.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors for a name and a password")
    group.add_argument("--mcp", action="store_true", help="let assistants use the page (Model Context Protocol)")
    group.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser.parse_args(arguments)


def parse_auth(text: str | None) -> tuple[str, str] | None:
    """ "user:password" -> (user, password). Raises SettingsError for anything else."""
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise SettingsError("--auth takes USER:PASSWORD, for example --auth anna:correct-horse.")
    return user, password


def keep_localhost_off_proxies() -> None:
    """A system proxy that swallows localhost breaks Gradio ("Expecting value: line 1 column 1").

    Both spellings end up with all that either had: libraries read one or the other.
    """
    given = ",".join(os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    known = [part.strip() for part in given.split(",") if part.strip()]
    if "*" in known:
        return  # no proxy for anything: only recognised while it stands alone
    value = ",".join(dict.fromkeys([*known, *LOCAL_NAMES]))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = value


def gpu_decorator() -> tuple[Callable[..., Any], bool]:
    """(`spaces.GPU(...)` or a decorator that does nothing, whether this is ZeroGPU)."""
    if importlib.util.find_spec("spaces") is not None:
        import spaces  # must come before torch; does nothing where there is no ZeroGPU

        return spaces.GPU(duration=GPU_SECONDS), bool(os.environ.get("SPACES_ZERO_GPU"))
    return (lambda function: function), False


def run_page(workflow: str, arguments: Sequence[str] | None = None) -> int:
    """Build the page for a workflow, serve it, and stay until it is stopped. Returns an exit status."""
    options = parse_options(workflow, arguments)
    try:
        return _serve(workflow, options)
    except IclightError as error:
        print(f"iclight: {error}", file=sys.stderr)
        return 1


def _serve(workflow: str, options: argparse.Namespace) -> int:
    if importlib.util.find_spec("gradio") is None:
        raise IclightError("The pages need Gradio: pip install 'iclight[app]', or run `make app` in a clone.")
    if options.mcp and importlib.util.find_spec("mcp") is None:
        raise IclightError("--mcp needs the mcp package: pip install 'gradio[mcp]', then start the page again.")
    auth = parse_auth(options.auth)
    keep_localhost_off_proxies()
    gpu, zero_gpu = gpu_decorator()
    if options.share and not auth:
        print(
            "iclight: --share makes this page public; without --auth USER:PASSWORD anybody with the link can use it.",
            file=sys.stderr,
        )
    from .engine import Engine

    engine = Engine(workflow, engine_arguments(options))
    if zero_gpu:
        engine.get()  # ZeroGPU wants models in place before the first request forks
    from .layout import build
    from .words import i18n

    blocks = build(workflow, engine, gpu)
    blocks.queue(max_size=20, default_concurrency_limit=1)
    try:
        blocks.launch(
            server_name=options.host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
            server_port=options.port,
            share=options.share,
            auth=auth,
            inbrowser=options.open,
            max_file_size=UPLOAD_LIMIT,
            allowed_paths=[],
            enable_monitoring=False,
            strict_cors=True,
            show_error=False,
            ssr_mode=False,
            prevent_thread_lock=True,
            footer_links=["api", "settings"],
            mcp_server=options.mcp,
            i18n=i18n(),
            css_paths=HERE / "style.css",
            head="".join(f"<script>{(HERE / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS),
        )
    except OSError as error:
        print(f"iclight: the page could not be started: {error}", file=sys.stderr)
        return 1
    if not zero_gpu:
        engine.warm_up()  # after the page answers, so that nobody looks at nothing
    blocks.block_thread()
    return 0
