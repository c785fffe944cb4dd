"""Painting on the pages: correct a matte with two brushes, paint a light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import ImageError
from ..service.actions import Actions
from ..ui.components import Canvas
from ..ui.endpoints import shown, with_signature
from ..ui.inputs import picture_input
from ..ui.page import DECODE, HIDDEN

if TYPE_CHECKING:
    from ..ui.page import Page

# Colours of the light that a brush offers first: white, lamp, sunset, sky, neon, and darkness.
LIGHT_COLOURS = ["#ffffff", "#ffd9a0", "#ff8040", "#90b8ff", "#ff40c0", "#000000"]

# Of the shorter side: how far a painted light is blurred. Brushes have hard edges, lamps do not.
SOFT = 0.03


class Painting:
    """What the painting tools do. Pictures go in and out as files, as everywhere on the pages."""

    def __init__(self, work: Actions) -> None:
        self.work = work

    def matte(self, request: gr.Request, **values: Any) -> str:
        """The matte that a relighting would use: white is subject. PNG, at the picture's size."""
        from ...imaging.images import read_own_matte

        if not values.get("image"):
            raise ImageError("Give a picture first: drop one into the box on the left.")
        known = self.work.pictures.of
        mask = known(values["mask"], "The mask") if values.get("mask") else None
        picture, alpha = read_own_matte(known(values["image"]), mask)
        relighter = self.work.engine.get()
        relighter.check_matting(values.get("matting"))
        with relighter.exclusive():
            return self._save(request, relighter.prepare(picture, alpha, values.get("matting")).alpha)

    def begin(self, request: gr.Request, image: str | None, start: str | None) -> dict[str, Any]:
        """What is painted on: the picture, veiled where the matte to start from is 0."""
        from ...imaging.matte_brush import canvas

        if not image or not start:
            raise shown(ImageError("Press 'Show the matte' first, then paint on it."), request)
        try:
            ground = canvas(self.work.pictures.of(image).rgb, _as_matte(start))
        except ImageError as error:
            raise shown(error, request) from error
        return {"background": ground, "layers": [], "composite": ground}

    def use_matte(self, request: gr.Request, painted: dict[str, Any] | None, start: str | None) -> str:
        """The mask that the strokes make of the matte that was started from."""
        from ...imaging.matte_brush import retouched

        if not painted or not start:
            raise shown(ImageError("Press 'Show the matte' first, then paint on it."), request)
        try:
            alpha = _as_matte(start)
            for layer in painted.get("layers") or []:
                alpha = retouched(alpha, layer)
        except ImageError as error:
            raise shown(error, request) from error
        return self._save(request, alpha)

    def use_light(self, request: gr.Request, painted: dict[str, Any] | None) -> tuple[str, str]:
        """The painted light as a picture, softened, and the light that uses it."""
        import cv2

        from ...recipes import save_png

        if not painted or painted.get("composite") is None or not painted.get("layers"):
            raise shown(ImageError("Paint where the light comes from first."), request)
        path = self.work.folder(request) / "light.png"
        strokes = painted["composite"][..., :3]
        save_png(path, cv2.GaussianBlur(strokes, (0, 0), SOFT * min(strokes.shape[:2])))
        return str(path), "upload"

    def _save(self, request: gr.Request, alpha: Any) -> str:
        from ...recipes import save_png

        path: Path = self.work.folder(request) / "matte.png"
        save_png(path, (alpha[..., 0] * 255).round().astype("uint8"))
        return str(path)


def _as_matte(path: str) -> Any:
    from ...imaging.images import read_image

    return read_image(path)[0][..., :1].astype("float32") / 255


def show_matte_tools(page: Page, painting: Painting) -> None:
    """Buttons and an editor that make a mask out of the automatic matte; /matte gives the matte itself."""
    from ...imaging.matte_brush import ADD, REMOVE

    inputs = [page.inputs[name] for name in ("image", "mask", "matting")]
    defaults = {name: page.defaults[name] for name in ("image", "mask", "matting")}
    start = picture_input(visible="hidden", label="Matte")
    button = gr.Button("Show the matte, to paint on it", elem_id="show-matte")
    editor = Canvas(
        label="Green adds to the subject, red takes away",
        type="numpy",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size=24, colors=[ADD, REMOVE], default_color=ADD, color_mode="fixed"),
        height=420,
        format="png",
        visible=False,
        elem_id="matte-editor",
    )
    used = gr.Button("Use this matte", visible=False, elem_id="use-matte")
    found = button.click(
        with_signature(painting.matte, defaults),
        inputs,
        start,
        api_name=page.endpoint("matte"),
        api_description=painting.matte.__doc__,
        concurrency_id="gpu",
        show_progress_on=button,
    )
    opened = found.success(painting.begin, [page.inputs["image"], start], editor, **DECODE, **HIDDEN)
    opened.success(
        lambda: (gr.update(visible=True), gr.Button(visible=True)), None, [editor, used], queue=False, **HIDDEN
    )
    used.click(painting.use_matte, [editor, start], page.inputs["mask"], **DECODE, **HIDDEN)


def show_light_tools(page: Page, painting: Painting, workflow: str) -> None:
    """An editor that paints the light map (fc) or the background (fbc)."""
    target = {"fc": "light_map", "fbc": "background"}[workflow]
    dark = 0 if workflow == "fc" else 32
    editor = Canvas(
        value=_dark_canvas(dark),
        label="Paint where light comes from",
        type="numpy",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size=60, colors=LIGHT_COLOURS, default_color=LIGHT_COLOURS[0]),
        height=420,
        format="png",
        elem_id="light-editor",
    )
    used = gr.Button("Use this light", elem_id="use-light")
    used.click(painting.use_light, editor, [page.inputs[target], page.inputs["light"]], **DECODE, **HIDDEN)


def _dark_canvas(grey: int) -> Any:
    import numpy as np

    ground = np.full((640, 512, 3), grey, np.uint8)
    return {"background": ground, "layers": [], "composite": ground}
