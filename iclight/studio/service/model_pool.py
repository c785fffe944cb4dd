"""The page's models: loaded once, in the background or on first use, and able to say what they are doing."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import IclightError, plain
from ..ui.i18n import Say, translate

if TYPE_CHECKING:
    from ...relighter import Relighter

ENGLISH = Say()


class ModelPool:
    """Loads relighters with `arguments` (those of `Relighter.load`), one a workflow. Safe to ask from any thread.

    The page was started for one workflow, `workflow`, which is loaded at once. Another is loaded on first use and
    shares the VAE and text encoder. At most one more UNet than the first stays in memory: a third workflow takes the
    second's place.
    """

    def __init__(self, workflow: str, arguments: dict[str, Any]) -> None:
        self.workflow = workflow
        self.loading: str | None = None  # the workflow that is being loaded at the moment
        self._arguments = arguments
        self._loaded: dict[str, Relighter] = {}
        self._errors: dict[str, IclightError] = {}
        self._lock = threading.Lock()

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
            self._errors[self.workflow] = IclightError(
                "Loading failed unexpectedly ({kind}: {reason}).", kind=type(error).__name__, reason=plain(error)
            )

    def get(self, workflow: str | None = None) -> Relighter:
        """The relighter, loaded if it is not. Raises what loading raised; the next call tries again."""
        workflow = workflow or self.workflow
        with self._lock:
            if workflow not in self._loaded:
                self.loading = workflow
                try:
                    self._put(workflow, self._load(workflow))
                except IclightError as error:
                    self._errors[workflow] = error
                    raise
                finally:
                    self.loading = None
            return self._loaded[workflow]

    def _load(self, workflow: str) -> Relighter:
        from ...relighter import Relighter  # torch and diffusers: seconds, and only when needed

        # An offset that was asked for is for the workflow that was started; the model's is taken for another.
        own = {} if workflow == self.workflow else {"offset": None}
        share = next(iter(self._loaded.values()), None)
        return Relighter.load(workflow=workflow, share=share, **{**self._arguments, **own})

    def _put(self, workflow: str, relighter: Relighter) -> None:
        self._errors.pop(workflow, None)
        if workflow != self.workflow:
            for other in set(self._loaded) - {self.workflow}:
                del self._loaded[other]
        self._loaded[workflow] = relighter

    def defaults(self, workflow: str) -> Mapping[str, Any]:
        """The settings that the model's card names for a workflow; none before a model is loaded."""
        known = next(iter(self._loaded.values()), None)
        return {} if known is None else known.model.defaults.get(workflow, {})

    @property
    def ready(self) -> bool:
        """Whether the first loading is over, for better or worse; other workflows wait to be asked for."""
        return self.workflow in self._loaded or self.workflow in self._errors

    @property
    def loaded(self) -> bool:
        """Whether the first model is here."""
        return self.workflow in self._loaded

    @property
    def name(self) -> str:
        """The loaded model's name; "" before."""
        return self._loaded[self.workflow].model.name if self.loaded else ""

    def status(self, say: Say = ENGLISH, workflow: str | None = None) -> str:
        """One line of Markdown: which model is loaded for a workflow, where it runs, what one should know about it."""
        workflow = workflow or self.workflow
        if own := self._loaded.get(workflow):
            model = own.model
            line = say(
                "Model **{name}** on {place}, licence {licence}.",
                name=model.name,
                place=translate(own.placement.in_words(), say),
                licence=model.license,
            )
            return f"{line} {translate(model.notice, say)}" if model.notice else line
        if error := self._errors.get(workflow) or self._errors.get(self.workflow):
            return "**" + say("The model could not be loaded.") + f"** {translate(error, say)}"
        if first := self._loaded.get(self.workflow):
            return say("Model **{name}**; this way of lighting loads with the first request.", name=first.model.name)
        return say("Loading the model …")
