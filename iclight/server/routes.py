"""The routes for programs: `/v1/images/edits`, `/v1/models`, `/health`, `/metrics`.

An edit's way: form -> settings and pictures, refused here if they cannot be used -> its turn -> model -> files in JSON.
Whoever hangs up gives its place or its run up.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import Cancelled, IclightError
from ..settings import Settings
from ..studio.service.guard import visitor_of
from ..studio.service.model_pool import ModelPool
from ..studio.service.requests import Receive, Scope, Send, error_body, is_for_programs
from ..studio.service.sessions import Runs
from .answers import ApiError, as_api_error, as_mask, encode
from .forms import LIMITS, MODELS, Edit, read_edit
from .metrics import Metrics, Stages
from .turns import Full, Turns

if TYPE_CHECKING:
    from ..imaging.images import Picture
    from ..results import Result

# Bytes of decoded pictures whose requests wait.
ROOM = 1 << 30
# Prometheus's own content type.
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Api:
    """ASGI (`app`): the engine for programs, in turn with whatever else runs it."""

    def __init__(self, engine: ModelPool, gpu: Callable[..., Any], turns: Turns) -> None:
        """`gpu` decorates what needs the accelerator. `turns`: shared with the page, where there is one."""
        self.engine = engine
        self.turns = turns
        self.metrics = Metrics(turns)
        self._runs = Runs()
        self._run = gpu(self._run_here)
        self._held = 0
        self._closing = False
        self._born = int(time.time())
        routes = [
            Route("/v1/images/edits", self._counted(self.edits), methods=["POST"]),
            Route("/v1/models", self._counted(self.models)),
            Route("/v1/models/{name}", self._counted(self.models)),
            Route("/health", self.health),
            Route("/metrics", self.tell_metrics),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: self._nothing_here})

    def close(self) -> None:
        """Stop what runs, within a step."""
        self._closing = True

    def beside(self, other: Callable[[Scope, Receive, Send], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """ASGI that answers programs here and hands everything else on to `other`, the page."""

        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            for_programs = scope["type"] == "http" and is_for_programs(str(scope["path"]))
            await (self.app if for_programs else other)(scope, receive, send)

        return choose

    # --- small answers ----------------------------------------------------------------------------------------------

    async def models(self, request: Request) -> Response:
        """The models as OpenAI's clients list them: one for each workflow, and one that chooses by the inputs."""
        entries = [{"id": name, "object": "model", "created": self._born, "owned_by": "iclight"} for name in MODELS]
        name = request.path_params.get("name")
        if name is None:
            return JSONResponse({"object": "list", "data": entries})
        if name not in MODELS:
            raise ApiError(404, f"There is no such model; there are {', '.join(MODELS)}.", "model", "model_not_found")
        return JSONResponse(next(entry for entry in entries if entry["id"] == name))

    async def health(self, request: Request) -> Response:
        """200 once the model is loaded; 503 before, and where it could not be."""
        state = "loaded" if self.engine.loaded else "failed" if self.engine.ready else "loading"
        return JSONResponse({"status": "ok" if state == "loaded" else state}, 200 if state == "loaded" else 503)

    async def tell_metrics(self, request: Request) -> Response:
        return PlainTextResponse(self.metrics.text(self.engine.name), media_type=TEXT)

    # --- edits ------------------------------------------------------------------------------------------------------

    async def edits(self, request: Request) -> Response:
        """Light a picture."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise ApiError(415, "Send a form (multipart/form-data) with the picture as the file `image`.")
        with tempfile.TemporaryDirectory(prefix="edit-") as folder:
            try:
                async with request.form(**LIMITS) as form:
                    edit = await read_edit(form, Path(folder))
            except HTTPException as error:
                raise ApiError(400, f"The form cannot be read: {error.detail}") from error
            return await self._edit(request, edit)

    async def _edit(self, request: Request, edit: Edit) -> Response:
        model = (await asyncio.to_thread(self.engine.get)).model  # whose card decides what is left open
        settings = edit.settings(model.native_size, model.defaults.get(edit.named_workflow(), {}))
        inputs = await asyncio.to_thread(_decode, edit)
        settings = _kept_where_opaque(settings, edit, inputs)
        inputs["mask"] = None if inputs["mask"] is None else as_mask(inputs["mask"])
        caller = visitor_of(request.client)
        with self._runs.of(caller) as flag, self._room_for(inputs):
            async with _watched(request, flag) as gone:
                waited = Stages()
                place = self._place(caller)
                try:
                    await _come(place, gone)
                    waited.lap("wait")
                    result, seconds = await asyncio.to_thread(self._run, inputs, settings, edit.matting, flag)
                finally:
                    self.turns.leave(place)
                encoded = Stages()
                files = await asyncio.to_thread(encode, result, inputs, edit.output_format, edit.quality, edit.size)
                encoded.lap("encode")
        self.metrics.lit(len(files), {**waited.seconds, **seconds, **encoded.seconds})
        height, width = result.images[0].shape[:2]
        width, height = edit.size or (width, height)
        answer = {
            "created": int(time.time()),
            "data": [{"b64_json": file} for file in files],
            "output_format": edit.output_format,
            "size": f"{width}x{height}",
            "seed": result.settings.seed,
        }
        return JSONResponse(answer)

    def _place(self, caller: str) -> Future[None]:
        try:
            return self.turns.join(caller)
        except Full as full:
            words = f"Too many requests wait for the model; try again in {full.retry_after} s."
            refused = ApiError(503, words, None, "queue_full")
            refused.retry_after = full.retry_after
            raise refused from full

    @contextlib.contextmanager
    def _room_for(self, inputs: dict[str, Any]) -> Any:
        """While a request's decoded pictures are kept."""
        held = sum(getattr(picture, "nbytes", 0) for picture in inputs.values())
        if self._held and self._held + held > ROOM:
            refused = ApiError(503, "Too many large pictures wait for the model; try again in a moment.")
            refused.retry_after = 2
            raise refused
        self._held += held
        try:
            yield
        finally:
            self._held -= held

    def _run_here(
        self, inputs: dict[str, Any], settings: Settings, matting: str | None, flag: Path
    ) -> tuple[Result, dict[str, float]]:
        relighter = self.engine.get(settings.workflow)
        stages = Stages()

        def on_step(event: Any) -> bool:
            stages.lap(event.stage)
            return not (self._closing or flag.exists())

        with relighter.exclusive():
            request = relighter.open(settings=settings, matting=matting, **inputs)
            stages.lap("open")
            prepared = relighter.prepare(request.picture.rgb, request.own_alpha, matting)
            stages.lap("matte")
            rendering = relighter.draw(request, prepared, on_step)
            stages.lap("highres")
            result = relighter.finish(request, prepared, rendering)
            stages.lap("finish")
        return result, stages.seconds

    # --- errors -----------------------------------------------------------------------------------------------------

    def _counted(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """A route whose errors are in OpenAI's form, and whose answers are counted."""

        async def counted(request: Request) -> Response:
            try:
                response = await answer(request)
            except ApiError as error:
                response = _refusal(error)
            except IclightError as error:
                stopping = ApiError(503, "The server is being stopped; try again later.", None, "stopping")
                response = _refusal(stopping if self._closing else as_api_error(error))
            except Exception as error:  # a fault of ours: whoever started the server finds it in the log
                traceback.print_exc()
                words = f"This request could not be answered ({type(error).__name__})."
                response = _refusal(ApiError(500, words))
            self.metrics.answered(str(request.scope["route"].path), response.status_code)
            return response

        return counted

    async def _nothing_here(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        paths = "POST /v1/images/edits, GET /v1/models, /health, /metrics"
        return _refusal(
            ApiError(status, f"There is nothing here that answers so; there are {paths}.", None, "not_found")
        )


def _refusal(error: ApiError) -> Response:
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else None
    body = error_body(error.status, error.words, error.param, error.code)
    return JSONResponse(body, error.status, headers)


def _decode(edit: Edit) -> dict[str, Any]:
    from ..request import decode_inputs
    from ..settings import INPUTS

    return decode_inputs({name: edit.files.get(name) for name in INPUTS})


def _kept_where_opaque(settings: Settings, edit: Edit, inputs: dict[str, Picture | None]) -> Settings:
    """With OpenAI's mask, what is opaque in it stays the picture's own, unless another ground is asked for."""
    mask = inputs["mask"]
    if mask is None or mask.alpha is None or "finish_background" in edit.values or "behind" in edit.files:
        return settings
    return settings.replace(finish_background="original")


@contextlib.asynccontextmanager
async def _watched(request: Request, flag: Path) -> AsyncIterator[asyncio.Event]:
    """An event that is set, and the run's flag raised, once the client has hung up."""
    gone = asyncio.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        flag.touch()
        gone.set()

    watcher = asyncio.create_task(watch())
    try:
        yield gone
    finally:
        watcher.cancel()


async def _come(place: Future[None], gone: asyncio.Event) -> None:
    """Wait for a place's turn. Raises Cancelled where the client hangs up first."""
    leaving = asyncio.create_task(gone.wait())
    turn: asyncio.Future[Any] = asyncio.wrap_future(place)
    try:
        await asyncio.wait([turn, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if gone.is_set():
        raise Cancelled()
