"""Gradio inputs that hand values over untouched, so that the engine's own checks word the errors.

Gradio's stock inputs decode pictures and check ranges themselves, with messages that name neither file nor knob.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..settings import KNOBS

class PictureInput(gr.Image):
    """A picture input that yields the uploaded file's path: alpha, depth and rotation are still in it."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        if payload is not None and payload.path and not (payload.url or "").startswith("data:"):
            return payload.path
        return super().preprocess(payload)
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class KnobSlider(gr.Slider):
    """A slider over a knob's range that passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class KnobNumber(gr.Number):
    """A number that may be left empty and passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
    from collections.abc import Callable, Sequence
    from typing import TYPE_CHECKING, Any, Literal

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def knob_input(name: str, workflow: str) -> gr.components.Component:
    """The input for a knob of `settings.KNOBS`: text, slider, or a number that may stay empty."""
    knob = KNOBS[name]
    common = {"label": knob.label, "info": knob.help, "value": knob.default_for(workflow), "elem_id": f"knob-{name}"}
    if knob.kind == "text":
        return gr.Textbox(lines=1, max_lines=4, **common)
    if knob.optional:
        empty = "random" if name == "seed" else "follow the picture"
        return KnobNumber(precision=0, step=int(knob.step), placeholder=empty, **common)
    low, high = knob.slider_range
    return KnobSlider(minimum=low, maximum=high, step=knob.step, **common)
