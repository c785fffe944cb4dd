"""The History tab: what this session made, two pictures under a slider, settings back by one click or from a PNG."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import IclightError, ImageError, RecipeError, plain
from ...parameters import LIGHT_INPUTS, PARAMETERS
from ...settings import INPUTS
from ...weights.catalogue import MATTING_CHOICES
from ..service.actions import Actions
from ..service.history import caption
from ..service.outputs import Shot
from ..ui.components import PanoramaInput
from ..ui.endpoints import index_of, shown, with_signature
from ..ui.i18n import Say, as_text, speaker
from ..ui.page import DECODE, HIDDEN, QUIET, Page
from .relight import slider


def show_history(page: Page, work: Actions, tab: gr.Tab) -> None:
    """The tab's content, bound; it is brought up to date when the tab is opened and when a relighting is done."""
    restore = Restore(work, list(page.inputs))
    gr.Markdown(
        "Everything this browser tab has made since it was opened. Click a picture to look at it; click another to "
        "compare the two."
    )
    past = gr.Gallery(
        label="History",
        columns=4,
        height=300,
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        elem_id="history",
        buttons=[],
    )
    picked = gr.Markdown(elem_id="picked")
    again = gr.Button("Restore these settings", variant="primary", interactive=False, elem_id="restore")
    both = slider("The one clicked before | the one clicked last", "compare-two")
    drop = PanoramaInput(
        label="Drop a PNG made here: its settings come back", file_types=[".png"], height=120, elem_id="recipe"
    )
    said = gr.Markdown(elem_id="recipe-said")
    recipe = gr.JSON(visible=False)

    def pick(request: gr.Request, event: gr.SelectData) -> tuple[Any, ...]:
        try:
            shot = work.history.pick(request, index_of(event))
        except IclightError as error:
            raise shown(error, request) from error
        return as_text(caption(shot, speaker(request))), gr.Button(interactive=True), work.history.pair(request)

    past.select(pick, None, [picked, again, both], **QUIET)
    tab.select(work.history.thumbnails, None, past, **QUIET)
    # Programs ask for the same with the pictures themselves.
    listed = gr.Gallery(visible=False, format="png")
    gr.on(
        [],
        with_signature(work.history.listed, {}),
        None,
        listed,
        api_name=page.endpoint("history"),
        api_description=work.history.listed.__doc__,
        queue=False,
    )
    again.click(with_signature(restore.from_history, {}), None, page.values, **QUIET)
    gr.on(
        [],
        with_signature(restore.recipe, {"picture": ...}),
        drop,
        recipe,
        api_name=page.endpoint("recipe"),
        api_description=restore.recipe.__doc__,
        **DECODE,
    )
    drop.upload(
        with_signature(restore.from_recipe, {**dict.fromkeys(page.inputs), "recipe": None}),
        [*page.values, drop],
        [*page.values, said],
        show_progress_on=said,
        **DECODE,
        **HIDDEN,
    )
    page.looks["history"] = past


def refresh(page: Page, work: Actions, done: Any) -> None:
    """After a relighting: its pictures stand in the history."""
    done.success(work.history.thumbnails, None, page.looks["history"], **QUIET)


PAGES = {"fc": "app.py", "fbc": "app_bg.py", "env": "app_env.py"}


class Restore:
    """Fills a page's inputs in; `names` are the inputs in the page's order."""

    def __init__(self, work: Actions, names: list[str]) -> None:
        self.work = work
        self.names = names

    def from_history(self, request: gr.Request) -> list[Any]:
        """The inputs of the picture clicked last, pictures and masks among them."""
        values = self.work.history.picked(request).values
        return [values.get(name) for name in self.names]

    def recipe(self, request: gr.Request, **values: Any) -> dict[str, Any]:
        """What a PNG made here was made with: settings, model, matting, and its inputs by name and fingerprint."""
        import json

        return json.loads(self._read(values.get("picture")).to_json())

    def from_recipe(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Inputs and a line about them, from a PNG in `recipe`; `values` are the page's inputs as they are.

        Raises RecipeError, and leaves everything as it is, for a recipe that this page and model cannot follow.
        """
        from ...recipes import check_model

        recipe = self._read(values.pop("recipe"))
        workflow, say = self.work.engine.workflow, speaker(request)
        if recipe.kind != "relight":
            raise RecipeError("This is not a relit picture; drop one that Relight made.")
        if recipe.settings.workflow != workflow:
            raise RecipeError(
                "This was made by the {workflow} workflow: drop it on the page of {page}.",
                workflow=recipe.settings.workflow,
                page=PAGES[recipe.settings.workflow],
            )
        check_model(recipe, self.work.engine.get().identity(recipe.matting))
        asked = {name: getattr(recipe.settings, name) for name in PARAMETERS if name in self.names}
        asked |= {"random_seed": False, "mood": None}  # its words are in the prompt
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
        for name in LIGHT_INPUTS.values():
            if name in self.names and name not in recipe.inputs:
                asked.setdefault(name, values.get(name))
        return *(asked.get(name, values.get(name)) for name in self.names), self._line(missing, say)

    def _known_inputs(self, request: gr.Request) -> dict[str, str]:
        """Fingerprint -> file, of what this session was given before."""
        from ...imaging.environment import fingerprint

        files = {shot.values[name] for shot in self._shots(request) for name in INPUTS if shot.values.get(name)}
        return {fingerprint(file): file for file in files}

    def _shots(self, request: gr.Request) -> tuple[Shot, ...]:
        return self.work.history.of(request.session_hash).shots

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
