"""Gradio inputs that hand values over untouched, so that the engine's own checks word the errors.

Gradio's stock inputs decode pictures and check ranges themselves, with messages that name neither file nor parameter.
Nothing else lives here: Gradio writes a type stub beside any file that defines components.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs

from ...errors import ImageError
from .endpoints import shown
from .paintings import MOST_LAYERS, PAINTINGS, read_painting


class PictureInput(gr.Image):
    """A picture input that yields the uploaded file's path: alpha, depth and rotation are still in it."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return None if payload is None else payload.path


class Canvas(gr.ImageEditor):
    """A canvas to paint on that yields {"background", "layers", "composite"}: HxWx4 uint8 pictures, or None.

    Gradio's own opens any format, and keeps for ever what a browser sends ahead.
    """

    is_template = True

    @server
    def accept_blobs(self, data: AcceptBlobs) -> None:
        """Take a picture of a painting, which the browser sends before the event that needs it."""
        with contextlib.suppress(AttributeError, LookupError, TypeError):  # a form that no page sends
            PAINTINGS.put(data.data["id"], data.data["type"], str(data.data["index"]), data.files[0][1])

    def preprocess(self, payload: Any) -> Any:
        if payload is None:
            return None
        if payload.id is not None:
            blobs = PAINTINGS.take(payload.id)
            layers: Sequence[Any] = [blobs[name] for name in sorted(blobs) if name.startswith("layer")]
            ground, composite = blobs.get("background"), blobs.get("composite")
        else:
            files = (payload.background, *payload.layers[:MOST_LAYERS], payload.composite)
            ground, *layers, composite = (file and file.path for file in files)
        try:
            return {
                "background": ground and read_painting(ground),
                "layers": [read_painting(layer) for layer in layers if layer],
                "composite": composite and read_painting(composite),
            }
        except ImageError as error:
            raise shown(error, None) from error


class PanoramaInput(gr.File):
    """An upload of any kind of panorama (browsers show no .hdr or .exr) that yields the file's path."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return None if payload is None else payload.path


class ParameterSlider(gr.Slider):
    """A slider over a parameter's range that passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class ParameterNumber(gr.Number):
    """A number that may be left empty and passes on whatever comes."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        # An empty box becomes 0 in the browser once its accordion has been opened.
        return None if payload == 0 and self.value is None else payload
