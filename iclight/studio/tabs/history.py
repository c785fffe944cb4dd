"""The History tab: what this session made, two pictures under a slider, settings back by one click or from a PNG."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import IclightError, ImageError, RecipeError, plain
from ...parameters import PARAMETERS
from ...settings import INPUTS
from ...weights.catalogue import MATTING_CHOICES
from ..service.actions import Actions
from ..service.history import caption
from ..service.model_pool import ModelPool
from ..service.outputs import Shot
from ..service.sessions import session_of
from ..ui.components import Compare, PanoramaInput
from ..ui.endpoints import index_of, shown, with_signature
from ..ui.i18n import Say, as_text, speaker
from ..ui.page import DECODE, HIDDEN, QUIET, Page
from .form import defaults_of, light_choices


def show_history(page: Page, work: Actions, tab: gr.Tab) -> None:
    """The tab's content, bound; it is brought up to date when the tab is opened and when a picture is made."""
    restore = Restore(work, list(page.inputs))
    gr.Markdown("What this browser tab has made. Click a picture to look at it; click another to compare the two.")
    past = gr.Gallery(
        label="History",
        columns=4,
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        elem_id="history",
        buttons=[],
    )
    picked = gr.Markdown(elem_id="picked")
    with gr.Row(elem_id="picked-row"):
        again = gr.Button("Restore these settings", variant="primary", interactive=False, elem_id="restore")
        take = gr.Button("Download", interactive=False, elem_id="take-past")
        file = gr.DownloadButton("Download", visible="hidden", elem_id="past-file")
    both = Compare(label="Divider between the two pictures", elem_id="compare-two")
    drop = PanoramaInput(
        label="Drop a PNG or TIFF made here: its settings come back",
        file_types=[".png", ".tif", ".tiff"],
        height=110,
        elem_id="recipe",
    )
    said = gr.Markdown(elem_id="recipe-said")
    recipe = gr.JSON(visible=False)

    def pick(request: gr.Request, event: gr.SelectData) -> tuple[Any, ...]:
        try:
            shot = work.history.pick(request, index_of(event))
        except IclightError as error:
            raise shown(error, request) from error
        usable = gr.Button(interactive=True)
        return as_text(caption(shot, speaker(request))), usable, usable, work.history.pair(request)

    past.select(pick, None, [picked, again, take, both], **QUIET)
    tab.select(work.history.thumbnails, None, past, **QUIET)
    got = take.click(with_signature(lambda request: work.history.picked(request).path, {}), None, file, **QUIET)
    got.success(None, None, None, js="() => document.querySelector('#past-file')?.click()", **HIDDEN)
    # Programs ask for the same with the pictures themselves.
    listed = gr.Gallery(visible=False, format="png")
    gr.on(
        [],
        with_signature(work.history.listed, {}),
        None,
        listed,
        api_name="history",
        api_description=work.history.listed.__doc__,
        queue=False,
    )
    filled = [*page.values, page.looks["known-defaults"], page.looks["belongs"]]
    again.click(with_signature(restore.from_history, {}), None, filled, **QUIET)
    gr.on(
        [],
        with_signature(restore.recipe, {"picture": ...}),
        drop,
        recipe,
        api_name="recipe",
        api_description=restore.recipe.__doc__,
        **DECODE,
    )
    drop.upload(
        with_signature(restore.from_recipe, {**dict.fromkeys(page.inputs), "recipe": None}),
        [*page.values, drop],
        [*filled, said],
        show_progress_on=said,
        **DECODE,
        **HIDDEN,
    )
    page.looks["history"] = past


def refresh(page: Page, work: Actions, done: Any) -> None:
    """After a picture was made: it stands in the history."""
    done.success(work.history.thumbnails, None, page.looks["history"], **QUIET)


def filling(names: list[str], values: dict[str, Any], engine: ModelPool) -> list[Any]:
    """Updates of the page's inputs `names`, of the defaults beside them, and of what belongs to their picture."""
    workflow, image = values["workflow"], values.get("image")
    belongs = {"mask": image, "size": image if values.get("width") or values.get("height") else None}
    light = gr.Radio(choices=light_choices(workflow), value=values["light"])
    return [*(light if name == "light" else values.get(name) for name in names), defaults_of(engine, workflow), belongs]


class Restore:
    """Fills the page's inputs in; `names` are the inputs in the page's order."""

    def __init__(self, work: Actions, names: list[str]) -> None:
        self.work = work
        self.names = names

    def from_history(self, request: gr.Request) -> list[Any]:
        """The inputs of the picture clicked last, pictures and masks among them, its mood chosen again."""
        shot = self.work.history.picked(request)
        light = shot.values.get("light") or shot.settings.light
        values = {**shot.values, "workflow": shot.settings.workflow, "light": light}
        return filling(self.names, values, self.work.engine)

    def recipe(self, request: gr.Request, **values: Any) -> dict[str, Any]:
        """What a PNG made here was made with: settings, model, matting, and its inputs by name and fingerprint."""
        import json

        return json.loads(self._read(values.get("picture")).to_json())

    def from_recipe(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Inputs and a line about them, from a PNG in `recipe`; `values` are the page's inputs as they are.

        No mood is chosen: its words are in the prompt. A size is only brought back with the picture that it was for.
        Raises RecipeError, and leaves everything as it is, for a recipe that this model cannot follow.
        """
        from ...recipes import check_model

        recipe = self._read(values.pop("recipe"))
        settings, say = recipe.settings, speaker(request)
        if recipe.kind != "relight":
            raise RecipeError("This is not a relit picture; drop one that Relight made.")
        check_model(recipe, self.work.engine.get(settings.workflow).identity(recipe.matting))
        asked = {name: getattr(settings, name) for name in PARAMETERS if name in self.names}
        asked |= {"workflow": settings.workflow, "random_seed": False, "mood": None}
        if recipe.matting in MATTING_CHOICES:
            asked |= {"matting": recipe.matting, "mask": None}
        known = self._known_inputs(request)
        missing = []
        for name, entry in recipe.inputs.items():
            if name not in self.names:
                continue
            if _fits(values.get(name), entry):
                asked[name] = values[name]
            elif found := known.get(entry["sha256"]):
                asked[name] = found
            else:
                missing.append((name, entry["file"]))
        if any(name == "image" for name, _ in missing):
            asked |= {"width": None, "height": None}
        return *filling(self.names, {**values, **asked}, self.work.engine), self._line(missing, say)

    def _known_inputs(self, request: gr.Request) -> dict[str, str]:
        """Fingerprint -> file, of what this session was given before."""
        from ...imaging.environment import fingerprint

        files = {shot.values[name] for shot in self._shots(request) for name in INPUTS if shot.values.get(name)}
        return {fingerprint(file): file for file in files}

    def _shots(self, request: gr.Request) -> tuple[Shot, ...]:
        return self.work.history.of(session_of(request)).shots

    @staticmethod
    def _line(missing: list[tuple[str, str]], say: Say) -> str:
        line = say("The settings are back.")
        if missing:
            files = ", ".join(f"{say(INPUTS[name])} ({as_text(plain(file))})" for name, file in missing)
            line += " " + say("A PNG does not hold what it was made from; give that again: {files}.", files=files)
        return line

    @staticmethod
    def _read(path: Any) -> Any:
        from ...recipes import read_recipe

        if not path:
            raise ImageError("Give a PNG that was made here.")
        return read_recipe(path)


def _fits(path: Any, entry: dict[str, str]) -> bool:
    from ...imaging.environment import fingerprint

    return bool(path) and fingerprint(path) == entry["sha256"]
