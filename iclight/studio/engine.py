"""The page's engine: loaded once, in the background or on first use, and able to say what it is doing."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from ..errors import IclightError
from .words import Say, say_error

if TYPE_CHECKING:
    from ..relighter import Relighter

ENGLISH = Say()


class Engine:
    """Loads one relighter with `arguments` (those of `Relighter.load`). Safe to ask from any thread.

    A second workflow can be asked for beside the page's own (normals are made by fbc). It is loaded on first use and
    shares the page's VAE and text encoder: no more than one UNet comes on top.
    """

    def __init__(self, workflow: str, arguments: dict[str, Any]) -> None:
        self.workflow = workflow
        self._arguments = arguments
        self._loaded: dict[str, Relighter] = {}
        self._loading: str | None = None
        self._error: IclightError | None = None
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
            self._error = IclightError(f"Loading failed unexpectedly ({type(error).__name__}: {error}).")

    def get(self, workflow: str | None = None) -> Relighter:
        """The relighter, loaded if it is not. Raises what loading raised; the next call tries again."""
        workflow = workflow or self.workflow
        with self._lock:
            if workflow not in self._loaded:
                self._loading = workflow
                try:
                    self._loaded[workflow] = self._load(workflow)
                    self._error = None
                except IclightError as error:
                    if workflow == self.workflow:
                        self._error = error
                    raise
                finally:
                    self._loading = None
            return self._loaded[workflow]

    def _load(self, workflow: str) -> Relighter:
        from ..relighter import Relighter  # torch and diffusers: seconds, and only when needed

        if workflow == self.workflow:
            return Relighter.load(workflow=workflow, **self._arguments)
        # The page's own offset is for the page's own workflow; the model's is taken for another.
        loaded = Relighter.load(workflow=workflow, **{**self._arguments, "offset": None})
        if own := self._loaded.get(self.workflow):
            loaded.tokenizer, loaded.text_encoder, loaded.codec = own.tokenizer, own.text_encoder, own.codec
        return loaded

    @property
    def ready(self) -> bool:
        """Whether loading is over, for better or worse."""
        return self.workflow in self._loaded or self._error is not None

    @property
    def loading(self) -> str | None:
        """The workflow that is being loaded at the moment."""
        return self._loading

    def status(self, say: Say = ENGLISH) -> str:
        """One line of Markdown: which model is loaded, where it runs, and what the user should know about it."""
        if own := self._loaded.get(self.workflow):
            model = own.model
            notice = f"<br>{say_error(model.notice, say)}" if model.notice else ""
            return (
                say(
                    "Model **{name}** on {place}, licence {licence}.",
                    name=model.name,
                    place=own.placement,
                    licence=model.license,
                )
                + notice
            )
        if self._error is not None:
            return "**" + say("The model could not be loaded.") + f"** {say_error(str(self._error), say)}"
        return say("Loading model **{name}** …", name=self._arguments.get("model", "auto"))
