"""The page's engine: loaded once, in the background or on first use, and able to say what it is doing."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from ..errors import IclightError

if TYPE_CHECKING:
    from ..relighter import Relighter


class Engine:
    """Loads one relighter with `arguments` (those of `Relighter.load`). Safe to ask from any thread."""

    def __init__(self, workflow: str, arguments: dict[str, Any]) -> None:
        self.workflow = workflow
        self._arguments = arguments
        self._relighter: Relighter | None = None
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

    def get(self) -> Relighter:
        """The relighter, loaded if it is not. Raises what loading raised; the next call tries again."""
        with self._lock:
            if self._relighter is None:
                from ..relighter import Relighter  # torch and diffusers: seconds, and only when needed

                try:
                    self._relighter = Relighter.load(workflow=self.workflow, **self._arguments)
                    self._error = None
                except IclightError as error:
                    self._error = error
                    raise
            return self._relighter

    @property
    def ready(self) -> bool:
        """Whether loading is over, for better or worse."""
        return self._relighter is not None or self._error is not None

    def status(self) -> str:
        """One line of Markdown: which model is loaded, where it runs, and what the user should know about it."""
        if self._relighter is not None:
            model = self._relighter.model
            notice = f"<br>{model.notice}" if model.notice else ""
            return f"Model **{model.name}** on {self._relighter.placement}, licence {model.license}.{notice}"
        if self._error is not None:
            return f"**The model could not be loaded.** {self._error}"
        return f"Loading model **{self._arguments.get('model', 'auto')}** …"
