"""iclight: relight a picture by words, a direction or a background. Importing it loads no model and no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import IclightError, SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from .relighter import Relighter
    from .results import Result

__version__ = "0.1.0"
__all__ = ["IclightError", "Relighter", "Result", "Settings", "SettingsError", "__version__"]


def __getattr__(name: str) -> Any:
    # torch and diffusers take seconds to import; they are fetched when the engine is first asked for.
    if name == "Relighter":
        from .relighter import Relighter

        return Relighter
    if name == "Result":
        from .results import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
