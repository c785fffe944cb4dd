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
from gradio.data_classes import FileData

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


class ParameterChoice(gr.Radio):
    """One of several that passes on whatever comes: which there are depends on the workflow."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class ParameterNumber(gr.Textbox):
    """A whole number that may be left empty; passes on what comes. (Gradio's own shows an empty box as 0.)"""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        if not isinstance(payload, str):
            return payload
        text = payload.strip()
        return int(text) if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() else text or None

    def postprocess(self, value: Any) -> str | None:
        return None if value is None else str(value)

    def api_info(self) -> dict[str, Any]:
        return {"type": "integer"}


COLOUR = """<label class="colour"><span>${label}</span><input type="color" value="${value}"></label>"""
COLOUR_SCRIPT = """
element.addEventListener('input', (event) => {
  props.value = event.target.value;
  trigger('input');
});
"""


class Colour(gr.HTML):
    """A colour, "#rrggbb", by the browser's own picker, which no box clips and every keyboard opens."""

    def __init__(self, value: str = "#ffffff", *, label: Any = "Colour", **options: Any) -> None:
        super().__init__(
            value,
            label=label,
            html_template=COLOUR,
            js_on_load=COLOUR_SCRIPT,
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: Any) -> Any:
        return payload


COMPARE = """${value ? `<div class="pair"><img class="after" alt="" src="${value.after.url}">
  <img class="before" alt="" src="${value.before.url}">
  <input type="range" min="0" max="100" value="50" step="1" aria-label="${label}"></div>` : ''}"""
COMPARE_SCRIPT = """
element.addEventListener('input', (event) => {
  event.target.closest('.pair').style.setProperty('--at', `${event.target.value}%`);
});
"""


class Compare(gr.HTML):
    """Two pictures of one size under a divider that mouse, finger and arrow keys move: the files (before, after)."""

    def __init__(self, value: Any = None, *, label: Any = "", **options: Any) -> None:
        script: dict[str, Any] = {"html_template": COMPARE, "js_on_load": COMPARE_SCRIPT, "apply_default_css": False}
        super().__init__(value, label=label, **{**script, **options})

    def postprocess(self, value: Any) -> Any:
        if value is None:
            return None
        before, after = (FileData(path=path, orig_name=path.rsplit("/", 1)[-1]).model_dump() for path in value)
        return {"before": before, "after": after}
