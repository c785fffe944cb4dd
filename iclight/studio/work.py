"""What the pages' buttons do: check, relight with a bar and a way to stop, save PNGs with their recipes."""

from __future__ import annotations

import contextlib
import inspect
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import Cancelled, IclightError, ImageError
from ..files import INPUTS, check_inputs
from ..settings import KNOBS, LIGHT_INPUTS, NORMAL_LIGHTS, Settings
from .engine import Engine

LIGHT_NOUNS = {
    "light_map": "a light map",
    "background": "a background picture",
    "environment": "an environment map",
}
STAGES = {"lowres": "First pass", "highres": "Second pass"}
NORMALS_CAPTIONS = (
    "normals",
    *(f"gain, {light}" for light in NORMAL_LIGHTS),
    *(f"light from {light}" for light in NORMAL_LIGHTS),
)


class StopFlags:
    """A flag for every request that runs, raised by its session's Cancel and looked at after every step.

    A flag is a file that appears: on ZeroGPU the work runs in another process, and a file is seen from there too. Each
    request has its own, because Gradio may start a session's next request while the cancelled one is still in a step.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="iclight-stop-"))
        self._running: dict[str, set[Path]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of(self, session: str | None) -> Iterator[Path]:
        """A new request's flag, for as long as the request runs."""
        flag = self._folder / uuid.uuid4().hex
        with self._lock:
            self._running.setdefault(session or "", set()).add(flag)
        try:
            yield flag
        finally:
            with self._lock:
                self._running[session or ""].discard(flag)
                if not self._running[session or ""]:
                    del self._running[session or ""]
            flag.unlink(missing_ok=True)

    def raise_all(self, session: str | None) -> None:
        """Stop whatever runs for a session."""
        with self._lock:
            for flag in self._running.get(session or "", ()):
                flag.touch()


def with_signature(function: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any]:
    """`function(request, **values)` as a function of the positional inputs Gradio passes, named for its API.

    `names` maps each input to its default, `...` for none. Gradio reads names and None defaults off the signature;
    writing twenty parameters out by hand would repeat the knobs.
    """

    def handler(*values: Any) -> Any:
        request, *inputs = values
        try:
            return function(request, **dict(zip(names, inputs, strict=True)))
        except IclightError as error:
            raise gr.Error(str(error), duration=None, title=title_of(error), print_exception=False) from error

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("request", kind, annotation=gr.Request)]
    for name, default in names.items():
        parameters.append(inspect.Parameter(name, kind, default=inspect.Parameter.empty if default is ... else default))
    handler.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    handler.__annotations__ = {"request": gr.Request}
    handler.__name__ = function.__name__
    handler.__doc__ = function.__doc__
    return handler


def title_of(error: IclightError) -> str:
    return {"Cancelled": "Stopped", "ImageError": "Picture", "SettingsError": "Settings"}.get(
        type(error).__name__, "Error"
    )


def settings_of(workflow: str, values: dict[str, Any]) -> Settings:
    """Settings from a page's inputs: knobs by name, and the random-seed toggle."""
    knobs = {name: values[name] for name in KNOBS if name in values}
    if values.get("random_seed"):
        knobs["seed"] = None
    return Settings.for_workflow(workflow, **knobs)


def follow(stop: Path) -> Callable[[Any], bool]:
    """An `on_step` that moves Gradio's bar and stops when the flag is up."""
    bar = gr.Progress()

    def on_step(event: Any) -> bool:
        stage = STAGES[event.stage]
        with contextlib.suppress(LookupError, AttributeError):  # called outside of a page there is no bar to move
            bar(event.overall, desc=f"{stage}, step {event.step} of {event.steps}")
        return not stop.exists()

    return on_step


class Work:
    """The actions of one page."""

    def __init__(self, engine: Engine, gpu: Callable[..., Any]) -> None:
        """`gpu` decorates what needs the accelerator (`spaces.GPU` on ZeroGPU, else nothing)."""
        self.engine = engine
        self.stops = StopFlags()
        self._relight = gpu(self._relight_here)
        self._normals = gpu(self._normals_here)

    # The order of the outputs is the order of the page's components: gallery, foreground, matte, used seed, line.

    def check_relight(self, request: gr.Request, **values: Any) -> None:
        """Refuse what cannot be relit, in words."""
        self.check(values)

    def check_normals(self, request: gr.Request, **values: Any) -> None:
        """The same for normals."""
        self.check(self._for_normals(values))

    @staticmethod
    def _for_normals(values: dict[str, Any]) -> dict[str, Any]:
        """The four lights are fixed, so a missing background is no error here."""
        return {**values, "light": "ambient"} if str(values.get("light", "")).startswith("upload") else values

    def relight(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Relight a picture: by words and a light direction, or by a background."""
        settings = self.check(values)
        with self.stops.of(request.session_hash) as stop:
            result = self._relight(values, settings, stop)
        folder = self.output_folder()
        recipe = self._recipe(result, values, "relight")
        shown: list[tuple[str, str | None]] = [
            (self._save(folder, picture, replace(recipe, index=index)), None)
            for index, picture in enumerate(result.images)
        ]
        if settings.workflow == "fbc":
            height, width = result.images[0].shape[:2]
            shown += [
                (self._save_plain(folder, "foreground", _crop(result.foreground, width, height)), "foreground"),
                (self._save_plain(folder, "background", result.background), "background"),
            ]
        return shown, *self._about(folder, result)

    def normals(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Estimate a subject's surface normals from four relightings (left, right, bottom, top)."""
        values = self._for_normals(values)
        settings = self.check(values)
        with self.stops.of(request.session_hash) as stop:
            result = self._normals(values, settings, stop)
        folder = self.output_folder()
        recipe = self._recipe(result, values, "normals")
        shown = [
            (self._save(folder, picture, replace(recipe, index=index)), caption)
            for index, (picture, caption) in enumerate(zip(result.images, NORMALS_CAPTIONS, strict=True))
        ]
        return shown, *self._about(folder, result)

    @staticmethod
    def look_at_map(environment: str | None, light: str) -> Any:
        """The env workflow's map as a picture; None where there is none, with a warning if one was given."""
        from .. import environment as maps
        from ..lighting import read_map

        try:
            settings = settings_of("env", {"light": light})
            if settings.light_input and not environment:
                return None
            made = read_map(settings, environment)
        except IclightError as error:
            gr.Warning(str(error), title=title_of(error))
            return None
        return None if made is None else maps.preview(made)

    def cancel(self, request: gr.Request) -> None:
        """Stop this session's work after the step that is running."""
        self.stops.raise_all(request.session_hash)

    def check(self, values: dict[str, Any]) -> Settings:
        """Everything that can be refused before a model runs."""
        from ..lighting import own_lights

        if not values.get("image"):
            raise ImageError("Give a picture first: drop one into the box on the left.")
        settings = settings_of(self.engine.workflow, values)
        check_inputs({name: values.get(name) or None for name in INPUTS})
        if settings.light_input and not values.get(settings.light_input):
            raise ImageError(
                f"Give {LIGHT_NOUNS[settings.light_input]}, or choose another light: {own_lights(settings.workflow)}."
            )
        if settings.finish_background == "own" and not values.get("behind"):
            raise ImageError("Give the picture to put behind the subject, or choose another background under Finish.")
        return settings

    def _relight_here(self, values: dict[str, Any], settings: Settings, stop: Path) -> Any:
        return self.loaded(stop).relight(
            values["image"],
            settings,
            background=values.get("background"),
            mask=values.get("mask"),
            on_step=follow(stop),
            matting=values.get("matting"),
            environment=values.get("environment"),
            behind=values.get("behind"),
            light_map=values.get("light_map"),
        )

    def _normals_here(self, values: dict[str, Any], settings: Settings, stop: Path) -> Any:
        from ..normals import estimate_normals

        return estimate_normals(
            self.loaded(stop),
            values["image"],
            settings,
            mask=values.get("mask"),
            on_step=follow(stop),
            matting=values.get("matting"),
        )

    def loaded(self, stop: Path) -> Any:
        if not self.engine.ready:
            with contextlib.suppress(LookupError, AttributeError):
                gr.Progress()(0, desc="Loading the model")
        relighter = self.engine.get()
        if stop.exists():
            raise Cancelled()
        return relighter

    # --- what comes out -------------------------------------------------------------------------------------------

    @staticmethod
    def output_folder() -> Path:
        """A new folder inside Gradio's own cache, which serves it and clears it when it is old."""
        from gradio.utils import get_upload_folder

        root = Path(get_upload_folder())
        root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="iclight-", dir=root))

    @staticmethod
    def _recipe(result: Any, values: dict[str, Any], kind: str) -> Any:
        from ..recipes import Recipe, describe_asked, describe_input, software_versions

        inputs = {
            name: describe_input(values[name])
            for name in INPUTS
            if values.get(name)
            and (name not in LIGHT_INPUTS.values() or name == result.settings.light_input)
            and (name != "behind" or result.settings.finish_background == "own")
        }
        model = {**result.model, "asked": describe_asked(result.model["asked"], None)}
        return Recipe(result.settings, model, result.matting, inputs, kind, software=software_versions())

    @staticmethod
    def _save(folder: Path, picture: Any, recipe: Any) -> str:
        from ..recipes import save_png

        stem = Path(recipe.inputs["image"]["file"]).stem[:40]
        path = folder / f"{stem}-{recipe.kind}-{recipe.settings.seed}-{recipe.index + 1}.png"
        save_png(path, picture, recipe)
        return str(path)

    @staticmethod
    def _save_plain(folder: Path, name: str, picture: Any) -> str:
        from ..recipes import save_png

        save_png(folder / f"{name}.png", picture)
        return str(folder / f"{name}.png")

    def _about(self, folder: Path, result: Any) -> tuple[str, str, int, str]:
        matte = (result.alpha * 255).round().astype("uint8").repeat(3, axis=2)
        settings, identity = result.settings, result.model
        line = (
            f"**{result.seconds:.1f} s** · model {identity['name']} · {identity['device']} {identity['dtype']} · "
            f"matting {result.matting} · {settings.width}×{settings.height}, seed {settings.seed}"
        )
        return (
            self._save_plain(folder, "prepared", result.foreground),
            self._save_plain(folder, "matte", matte),
            settings.seed,
            line,
        )


def _crop(picture: Any, width: int, height: int) -> Any:
    from ..images import resize_and_center_crop

    return resize_and_center_crop(picture, width, height)
