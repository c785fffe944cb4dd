"""Start a page: options, safe launch settings, ZeroGPU where there is one."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import IclightError, SettingsError, first_line
from ..studio.service.doors import Doors
from ..studio.service.guard import Guard, guarded
from ..studio.service.keys import Key
from ..weights.hub import print_to_stderr
from .options import add_engine_options, add_server_options, engine_arguments
from .surroundings import address_of, check_variables, mend_proxies, root_path

if TYPE_CHECKING:
    from ..server.routes import Api
    from ..studio.service.pages import Pages
    from ..studio.service.storage import Storage

STATIC = Path(__file__).parents[1] / "studio" / "static"
SCRIPTS = ("tab.js", "page.js", "keys.js", "handles.js", "faders.js")
PAGE_NAMES = {"fc": "app.py", "fbc": "app_bg.py", "env": "app_env.py"}
GPU_SECONDS = 120
# Requests that wait at once, over all visitors; one more is told so.
QUEUE = 20
# Bytes of one file. Panoramas hold four bytes and more for each pixel.
LARGEST_UPLOAD = 80 << 20
# Sessions that Gradio keeps a copy of the page's state for, of nearly a megabyte each; the longest unused goes first.
SESSIONS = 128


def parse_options(workflow: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The page's command line."""
    parser = argparse.ArgumentParser(prog=PAGE_NAMES[workflow], description="Open the relighting page in a browser.")
    add_engine_options(parser)
    group = add_server_options(parser, "the first free one from 7860")
    group.add_argument(
        "--root-path",
        type=root_path,
        metavar="PATH",
        help="where a proxy in front serves the page, e.g. /light or https://example.org/light",
    )
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


def gpu_decorator() -> tuple[Callable[..., Any], bool]:
    """(`spaces.GPU(...)` or a decorator that does nothing, whether this is ZeroGPU)."""
    if importlib.util.find_spec("spaces") is not None:
        import spaces  # must come before torch; does nothing where there is no ZeroGPU

        return spaces.GPU(duration=GPU_SECONDS), bool(os.environ.get("SPACES_ZERO_GPU"))
    return (lambda function: function), False


def run_page(workflow: str, arguments: Sequence[str] | None = None) -> int:
    """Build the page for a workflow, serve it, and stay until it is stopped. Returns an exit status."""
    options = parse_options(workflow, arguments)
    # From here to the open page everything that the libraries trip over is somebody's surroundings.
    try:
        mend_proxies(print_to_stderr)
        check_variables()
        options.host, options.port = address_of(options.host, options.port)
        if importlib.util.find_spec("gradio") is None:
            raise IclightError("The pages need Gradio: pip install 'iclight[app]', or run `make app` in a clone.")
        from ..studio.service.storage import open_storage

        with stopped_by_signal(), open_storage() as storage:
            return _serve(workflow, options, storage)
    except IclightError as error:
        print(f"iclight: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the page stood; afterwards Gradio waits for it
        return 130
    except Exception as error:
        said = f"iclight: the page could not be started ({type(error).__name__}: {first_line(error)})."
        print(said, file=sys.stderr)
        if os.environ.get("ICLIGHT_TRACEBACK"):
            raise
        print("ICLIGHT_TRACEBACK=1 shows where.", file=sys.stderr)
        return 1


@contextlib.contextmanager
def stopped_by_signal() -> Iterator[None]:
    """A service that is stopped (SIGTERM) leaves as a person's Ctrl-C does: nothing of it stays on the disk."""

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        usual = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not in the main thread: whoever started it stops it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


def _serve(workflow: str, options: argparse.Namespace, storage: Storage) -> int:
    if options.mcp and importlib.util.find_spec("mcp") is None:
        raise IclightError("--mcp needs the mcp package: pip install 'gradio[mcp]', then start the page again.")
    auth, key = parse_auth(options.auth), Key.of(options.api_key)
    gpu, zero_gpu = gpu_decorator()
    if options.share and not auth:
        print(
            "iclight: --share makes this page public; without --auth USER:PASSWORD anybody with the link can use it.",
            file=sys.stderr,
        )
    from ..studio.service.model_pool import ModelPool

    engine = ModelPool(workflow, engine_arguments(options))
    if zero_gpu:
        engine.get()  # ZeroGPU wants models in place before the first request forks
    from ..server.routes import Api
    from ..server.turns import Turns
    from ..studio.layout import build
    from ..studio.ui.i18n import i18n
    from ..studio.ui.theme import theme

    turns = Turns()
    api = Api(engine, gpu, turns)
    blocks = build(workflow, engine, turns.taken(gpu), storage)
    blocks.queue(max_size=QUEUE, default_concurrency_limit=1, api_open=False)
    host = options.host
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")  # the history is the page's own
    blocks.launch(
        server_name=host,
        state_session_capacity=SESSIONS,
        app_kwargs={"lifespan": guarded(lambda app: _guard(app, api, blocks, host, options.allow_host, key))},
        server_port=options.port,
        root_path=options.root_path,
        share=options.share,
        auth=auth,
        inbrowser=options.open,
        max_file_size=LARGEST_UPLOAD,
        allowed_paths=[],
        enable_monitoring=False,
        strict_cors=True,
        show_error=False,
        ssr_mode=False,
        prevent_thread_lock=True,
        footer_links=["api", "settings"],
        mcp_server=options.mcp,
        i18n=i18n(),
        theme=theme(),
        css_paths=STATIC / "style.css",
        head="".join(f"<script>{(STATIC / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS),
    )
    if not zero_gpu:
        engine.warm_up()  # after the page answers, so that nobody looks at nothing
    try:
        blocks.block_thread()
    finally:
        api.close()  # or the process would wait for a program's run to its end
    return 0


def _guard(app: Any, api: Api, blocks: Pages, host: str, allowed: Sequence[str], key: Key | None) -> Guard:
    """What stands before the page and the routes for programs: see `guard`. Logins are Gradio's own."""
    space = os.environ.get("SPACE_HOST", "")
    doors = Doors.of(host.strip("[]"), [*allowed, *([space] if space else [])], bool(space), lambda: blocks.share_url)

    def user_of(cookies: dict[str, str]) -> str | None:
        names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
        return next((app.tokens[cookies[name]] for name in names if cookies.get(name) in app.tokens), None)

    def hung_up(event_id: str) -> None:
        event = blocks._queue.event_ids_to_events.get(event_id)
        blocks.stop(event.session_hash if event is not None else event_id)  # Gradio's default for whose it is

    shown = [f"/{path}" for path, *_ in blocks.pages]
    blocks.storage.pin()  # the examples
    answering = api.beside(app.middleware_stack)
    return Guard(answering, doors, blocks.storage, user_of if app.auth else None, shown, hung_up, key)
