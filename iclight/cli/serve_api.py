"""`iclight serve`: the routes for programs without a page."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from ..errors import IclightError
from ..parameters import WORKFLOWS
from ..weights.hub import print_to_stderr
from .options import add_engine_options, add_server_options, engine_arguments
from .surroundings import address_of, mend_proxies

if TYPE_CHECKING:
    from ..server.routes import Api

PORT = 8000
# Seconds that running requests have to end in once the server is told to stop.
FAREWELL = 10


def add_serve(commands: Any) -> argparse.ArgumentParser:
    """`iclight serve` and its options."""
    parser: argparse.ArgumentParser = commands.add_parser("serve", help="HTTP for programs: OpenAI's /v1/images/edits")
    add_engine_options(parser)
    parser.add_argument("--workflow", choices=WORKFLOWS, default="fc", help="the one that is loaded at once")
    add_server_options(parser, str(PORT))
    parser.set_defaults(run=run_serve)
    return parser


def run_serve(options: argparse.Namespace) -> None:
    """Serve until stopped."""
    mend_proxies(print_to_stderr)
    host, port = address_of(options.host, options.port or PORT)
    if importlib.util.find_spec("gradio") is None:
        raise IclightError("Serving needs what the pages need: pip install 'iclight[app]'.")
    from ..studio.service.keys import VARIABLE, Key

    key, host = Key.of(options.api_key), host.strip("[]")
    if key is None and host not in ("127.0.0.1", "::1", "localhost"):
        print(
            f"iclight: whoever reaches {host} can use this server; {VARIABLE} or --api-key asks for a key.",
            file=sys.stderr,
        )
    from ..server.routes import Api
    from ..server.turns import Turns
    from ..studio.service.doors import Doors
    from ..studio.service.guard import Guard
    from ..studio.service.model_pool import ModelPool
    from ..studio.service.storage import open_storage
    from .serve import stopped_by_signal

    engine = ModelPool(options.workflow, engine_arguments(options))
    api = Api(engine, lambda function: function, Turns())
    with stopped_by_signal(), open_storage() as storage:
        guard = Guard(api.app, Doors.of(host, options.allow_host), storage, key=key)
        engine.warm_up()
        shown = f"[{host}]" if ":" in host else host
        print(f"iclight: serving http://{shown}:{port}/v1", file=sys.stderr)
        _serve(guard, api, host, port or PORT)


def _serve(guard: Any, api: Api, host: str, port: int) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, *arguments: Any, **named: Any) -> None:
            api.close()
            await super().shutdown(*arguments, **named)

    config = uvicorn.Config(
        guard,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=FAREWELL,
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run()
