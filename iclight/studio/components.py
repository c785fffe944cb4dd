"""Gradio inputs that hand values over untouched, so that the engine's own checks word the errors.

Gradio's stock inputs decode pictures and check ranges themselves, with messages that name neither file nor knob.
Nothing else lives here: Gradio writes a type stub beside any file that defines components.
"""

from __future__ import annotations

from typing import Any

import gradio as gr


class PictureInput(gr.Image):
    """A picture input that yields the uploaded file's path: alpha, depth and rotation are still in it."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        if payload is not None and payload.path and not (payload.url or "").startswith("data:"):
            return payload.path
        return super().preprocess(payload)


class KnobSlider(gr.Slider):
    """A slider over a knob's range that passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class KnobNumber(gr.Number):
    """A number that may be left empty and passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload
