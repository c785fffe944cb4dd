"""ComfyUI's progress bar, preview and stop button as the engine's `on_step`; outside of ComfyUI there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

# Parts of a request that the bar tells apart, and pixels of a preview's side.
PARTS, PREVIEW = 1000, 512


def follow(run: int = 0, runs: int = 1) -> Callable[[Any], bool] | None:
    """An `on_step` for one of several runs of a node; None where nobody looks."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
    except ImportError:
        return None
    bar = ProgressBar(PARTS)

    def on_step(event: Any) -> bool:
        throw_exception_if_processing_interrupted()
        done = round(PARTS * (run + event.overall) / runs)
        bar.update_absolute(done, PARTS, ("JPEG", Image.fromarray(event.preview()), PREVIEW))
        return True

    return on_step
