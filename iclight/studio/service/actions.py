"""What the page's buttons do: check, relight with a preview to look at and a way to stop, keep what came of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import Cancelled, IclightError, ImageError
from ...parameters import LIGHT_INPUTS, LIGHTS, PARAMETERS
from ...settings import INPUTS, Settings, check_workflow
from ...weights.files import write_whole
from ..ui.i18n import Say, as_text, speaker, translate
from ..ui.moods import with_mood
from . import outputs as outcome
from .guard import visitor_of
from .history import SESSIONS, History
from .model_pool import ModelPool
from .progress import follow, jpeg, tell
from .sessions import PerSession, Runs, session_of
from .storage import Storage

LIGHT_NOUNS = {
    "light_map": "a light map",
    "background": "a background picture",
    "environment": "an environment map",
}
# The share of a request that is done when its pictures are written.
SAVING = 0.98
# How many pictures, each of a seed of its own, "Vary" makes.
VARIATIONS = 4


def workflow_of(values: dict[str, Any], usual: str) -> str:
    """The workflow that a request names, or the usual one. Raises SettingsError for what is none."""
    workflow = values.get("workflow") or usual
    check_workflow(workflow)
    return str(workflow)


def settings_of(workflow: str, values: dict[str, Any], defaults: Mapping[str, Any] = {}) -> Settings:
    """Settings from a page's inputs: parameters by name, the mood's words, and the random-seed toggle.

    What is left open is the model's own default (`defaults`), or the workflow's; an empty seed or size stays for the
    engine to choose.
    """
    parameters = {
        name: values[name]
        for name, parameter in PARAMETERS.items()
        if values.get(name) is not None or (parameter.optional and name in values)
    }
    parameters["prompt"] = with_mood(values.get("prompt"), values.get("mood"))
    if values.get("random_seed"):
        parameters["seed"] = None
    return Settings.for_workflow(workflow, **{**defaults, **parameters})


class Actions:
    """The actions of the page."""

    def __init__(self, engine: ModelPool, gpu: Callable[..., Any], storage: Storage) -> None:
        """`gpu` decorates what needs the accelerator (`spaces.GPU` on ZeroGPU, else nothing)."""
        self.engine = engine
        self.storage = storage
        self.runs = Runs()
        self.history = History(storage)
        self.pictures = storage.pictures
        # What `relight` and `vary` gave last, and an id of it: a page whose connection broke asks for it again.
        self._last: PerSession[tuple[str, tuple[Any, ...]]] = PerSession(SESSIONS)
        self._relight = gpu(self._relight_here)

    # The order of the outputs is the order of the page's components: gallery, foreground, matte, used seed, line.

    def relight(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Relight a picture: by words and a light direction (workflow "fc"), a background ("fbc") or an environment
        map ("env")."""
        return self._made(request, values, lambda settings: [settings])

    def vary(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Relight a picture four times, each time with another random seed; the rest as in /relight."""
        seeds = [secrets.randbelow(2**32) for _ in range(VARIATIONS)]
        one = {**values, "num_images": 1}
        return self._made(request, one, lambda settings: [settings.replace(seed=seed) for seed in seeds])

    def _made(
        self, request: gr.Request, values: dict[str, Any], each: Callable[[Settings], list[Settings]]
    ) -> tuple[Any, ...]:
        """`values` as the page has them; `each` makes the settings of every run of the request's."""
        say, session = speaker(request), session_of(request)
        with self.runs.of(session) as flag:
            self.loaded(flag)  # the model's card decides what is left open
            settings, inputs = self.check(values)
            results = self._relight(inputs, values.get("matting"), each(settings), flag, say)
            tell(flag, SAVING, say("Saving"))
            made = self._saved(request, values, inputs, results)
            self._last.put(session, (secrets.token_hex(8), made))
        return made

    def _saved(
        self, request: gr.Request, values: dict[str, Any], inputs: dict[str, Any], results: list[Any]
    ) -> tuple[Any, ...]:
        say, folder = speaker(request), self.folder(request)
        shown: list[tuple[str, str | None]] = []
        shots = []
        for result in results:
            paths = outcome.save_all(folder, result, inputs, "relight", result.icc, result.deep)
            shots += outcome.shots_of(folder, result, paths, values, inputs["image"])
            caption = None if len(results) == 1 else say("seed {seed}", seed=result.settings.seed)
            shown += [(path, caption) for path in paths]
        self.history.add(session_of(request), shots)
        last = results[0]
        if last.settings.workflow == "fbc":
            height, width = last.images[0].shape[:2]
            foreground = outcome.crop(last.foreground, width, height)
            shown += [
                (outcome.save_plain(folder, "foreground", foreground), say("foreground")),
                (outcome.save_plain(folder, "background", last.background), say("background")),
            ]
        last = replace(last, seconds=sum(result.seconds for result in results))
        return shown, *outcome.about(folder, last, say, [result.settings.seed for result in results])

    def latest(self, session: str) -> str | None:
        """An id of a session's last result."""
        known = self._last.get(session)
        return known[0] if known else None

    def again(self, request: gr.Request) -> tuple[Any, ...] | None:
        """A session's last result once more, as `relight` gave it; None where there is none, or its files are gone."""
        known = self._last.get(session_of(request))
        if known is None or not all(Path(path).is_file() for path, _ in known[1][0]):
            return None
        return known[1]

    def folder(self, request: gr.Request) -> Path:
        """A new folder for a request's results."""
        return self.storage.new_folder(visitor_of(request.client))

    def live_picture(self, request: gr.Request, pixels: Any) -> str:
        """A JPEG of what a moving slider shows, as one of the visitor's files."""
        path = self.storage.root / f"{secrets.token_hex(16)}.jpg"
        write_whole(path, jpeg(pixels, 92))
        self.storage.keep(path, visitor_of(request.client))
        return str(path)

    def cancel(self, request: gr.Request) -> None:
        """Stop this session's work after the step that is running."""
        self.runs.stop(session_of(request))

    def drop(self, session: str) -> None:
        """Nobody will ask for a session's results any more."""
        self.history.drop(session)
        self._last.drop(session)

    def check(self, values: dict[str, Any], workflow: str | None = None) -> tuple[Settings, dict[str, Any]]:
        """Everything that can be refused before a model runs; gives the settings, and the inputs decoded."""
        from ...request import decode_inputs, own_lights

        if not values.get("image"):
            raise ImageError("Give a picture first: drop one into the box called Picture.")
        workflow = workflow or workflow_of(values, self.engine.workflow)
        settings = settings_of(workflow, values, self.engine.defaults(workflow))
        # The inputs of other workflows stay on the page; they are no part of this request.
        others = {name for name in LIGHT_INPUTS.values() if name != LIGHT_INPUTS[settings.workflow]}
        asked = {name: None if name in others else values.get(name) or None for name in INPUTS}
        inputs = decode_inputs(asked, self.pictures.of)
        if settings.light_input and not values.get(settings.light_input):
            raise ImageError(
                "Give {what}, or choose another light: {lights: or }.",
                what=LIGHT_NOUNS[settings.light_input],
                lights=own_lights(settings.workflow),
            )
        if settings.finish_background == "own" and not values.get("behind"):
            raise ImageError("Give the picture to put behind the subject, or choose another background under Finish.")
        return settings, inputs

    def _relight_here(
        self, inputs: dict[str, Any], matting: str | None, asked: list[Settings], flag: Path, say: Say
    ) -> list[Any]:
        from ...diffusion.progress import share_of

        on_step = follow(flag, say, len(asked), "picture {number} of {count}")
        relighter = self.loaded(flag, asked[0].workflow)
        return [
            relighter.relight(
                settings=settings, on_step=share_of(on_step, number, len(asked)), matting=matting, **inputs
            )
            for number, settings in enumerate(asked)
        ]

    def loaded(self, flag: Path, workflow: str | None = None) -> Any:
        """The relighter, waited for if it is still being loaded. Raises Cancelled if nobody waits any longer."""
        relighter = self.engine.get(workflow)
        if flag.exists():
            raise Cancelled()
        return relighter


def look_at_map(request: gr.Request, environment: str | None, light: str) -> tuple[Any, str]:
    """The env workflow's map as a picture, or None; and what is wrong with the map that was given."""
    from ...imaging import environment as maps
    from ...request import read_map

    try:
        settings = settings_of("env", {"light": light if light in LIGHTS["env"] else None})
        if settings.light_input and not environment:
            return None, ""
        made = read_map(settings, environment)
    except IclightError as error:
        return None, as_text(translate(error, speaker(request)))
    return None if made is None else maps.preview(made), ""
