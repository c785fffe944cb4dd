"""Gradio inputs that hand values over untouched, so that the engine's own checks word the errors.

Gradio's stock inputs decode pictures and check ranges themselves, with messages that name neither file nor knob.
Nothing else lives here: Gradio writes a type stub beside any file that defines components.
"""

from __future__ import annotations

import base64
import tempfile
from typing import Any

import gradio as gr


class PictureInput(gr.Image):
    """A picture input that yields the uploaded file's path: alpha, depth and rotation are still in it."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        if payload is None:
            return None
        if (payload.url or "").startswith("data:"):
            return self._to_file(payload.url)
        return payload.path

    def _to_file(self, url: str) -> str:
        """A picture sent inside of the request becomes a file like any other, undecoded."""
        try:
            data = base64.b64decode(url.partition(",")[2], validate=True)
        except ValueError as error:
            raise gr.Error("The picture is not valid base64.") from error
        with tempfile.NamedTemporaryFile(dir=self.GRADIO_CACHE, suffix=".img", delete=False) as file:
            file.write(data)
        return file.name


class PanoramaInput(gr.File):
    """An upload of any kind of panorama (browsers show no .hdr or .exr) that yields the file's path."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return None if payload is None else payload.path


class KnobSlider(gr.Slider):
    """A slider over a knob's range that passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class KnobNumber(gr.Number):
    """A number that may be left empty and passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        # An empty box becomes 0 in the browser once its accordion has been opened.
        return None if payload == 0 and self.value is None else payload
