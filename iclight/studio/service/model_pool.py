"""The page's engine: loaded once, in the background or on first use, and able to say what it is doing."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from ...errors import IclightError, plain
from ..ui.i18n import Say, translate

if TYPE_CHECKING:
    from ...relighter import Relighter

ENGLISH = Say()


class ModelPool:
    """Loads relighters with `arguments` (those of `Relighter.load`), one a workflow. Safe to ask from any thread.

    The page was started for one workflow, which is loaded at once. Another is loaded on first use (normals are made by
    fbc; `beside` gives a page of another workflow) and shares the VAE and text encoder. At most one more UNet than the
    page's own stays in memory: a third workflow takes the second's place.
    """

    def __init__(self, workflow: str, arguments: dict[str, Any]) -> None:
        self.workflow = workflow
        self._arguments = arguments
        self._shelf = _Shelf(workflow)

    def beside(self, workflow: str) -> ModelPool:
        """The same models, for a page of another workflow."""
        other = ModelPool(workflow, self._arguments)
        other._shelf = self._shelf
        return other

    @property
    def matting(self) -> str:
        """The matting that was asked for when the page was started."""
        return self._arguments.get("matting", "auto")

    def warm_up(self) -> threading.Thread:
        """Start loading in the background."""
        thread = threading.Thread(target=self._load_quietly, name="load-model", daemon=True)
        thread.start()
        return thread

    def _load_quietly(self) -> None:
        try:
            self.get()
        except IclightError as error:
            print(f"iclight: {error}")  # also shown on the page, and again when somebody presses the button
        except Exception as error:  # a bug of ours: the page must not wait for ever on top of it
            traceback.print_exc()
            self._shelf.errors[self.workflow] = IclightError(
                "Loading failed unexpectedly ({kind}: {reason}).", kind=type(error).__name__, reason=plain(error)
            )

    def get(self, workflow: str | None = None) -> Relighter:
        """The relighter, loaded if it is not. Raises what loading raised; the next call tries again."""
        workflow, shelf = workflow or self.workflow, self._shelf
        with shelf.lock:
            if workflow not in shelf.loaded:
                shelf.loading = workflow
                try:
                    shelf.put(workflow, self._load(workflow))
                except IclightError as error:
                    shelf.errors[workflow] = error
                    raise
                finally:
                    shelf.loading = None
            return shelf.loaded[workflow]

    def _load(self, workflow: str) -> Relighter:
        from ...relighter import Relighter  # torch and diffusers: seconds, and only when needed

        # An offset that was asked for is for the workflow that was started; the model's is taken for another.
        own = {} if workflow == self._shelf.home else {"offset": None}
        share = next(iter(self._shelf.loaded.values()), None)
        return Relighter.load(workflow=workflow, share=share, **{**self._arguments, **own})

    @property
    def ready(self) -> bool:
        """Whether loading is over, for better or worse; other workflows than the page's first wait to be asked for."""
        shelf, known = self._shelf, {self.workflow, self._shelf.home}
        return bool(known & set(shelf.loaded) or known & set(shelf.errors))

    @property
    def loading(self) -> str | None:
        """The workflow that is being loaded at the moment."""
        return self._shelf.loading

    def status(self, say: Say = ENGLISH) -> str:
        """One line of Markdown: which model is loaded, where it runs, and what the user should know about it."""
        shelf = self._shelf
        if own := shelf.loaded.get(self.workflow):
            model = own.model
            notice = f"<br>{translate(model.notice, say)}" if model.notice else ""
            return (
                say(
                    "Model **{name}** on {place}, licence {licence}.",
                    name=model.name,
                    place=translate(own.placement.in_words(), say),
                    licence=model.license,
                )
                + notice
            )
        if error := shelf.errors.get(self.workflow) or shelf.errors.get(shelf.home):
            return "**" + say("The model could not be loaded.") + f"** {translate(error, say)}"
        if home := shelf.loaded.get(shelf.home):
            return say("Model **{name}**; the rest comes with the first request.", name=home.model.name)
        return say("Loading model **{name}** …", name=self._arguments.get("model", "auto"))


class _Shelf:
    """What is loaded, by workflow, and what went wrong; shared by the pages of one server."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.loaded: dict[str, Relighter] = {}
        self.errors: dict[str, IclightError] = {}
        self.loading: str | None = None
        self.lock = threading.Lock()

    def put(self, workflow: str, relighter: Relighter) -> None:
        """Keep a relighter; of those beside the home workflow's the last alone."""
        self.errors.pop(workflow, None)
        if workflow != self.home:
            for other in set(self.loaded) - {self.home}:
                del self.loaded[other]
        self.loaded[workflow] = relighter
