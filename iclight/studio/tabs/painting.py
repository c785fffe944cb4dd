"""Painting on the photo: correct a matte with two brushes, paint a light. Strokes let the photo shine through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import ImageError
from ..service.actions import Actions
from ..ui.components import Canvas
from ..ui.endpoints import shown, with_signature
from ..ui.inputs import picture_input
from ..ui.page import DECODE, HIDDEN, QUIET

if TYPE_CHECKING:
    from ..ui.page import Page

# Colours of the light that a brush offers first: white, lamp, sunset, sky, neon, and darkness.
LIGHT_COLOURS = ["#ffffff", "#ffd9a0", "#ff8040", "#90b8ff", "#ff40c0", "#000000"]

# How much of a stroke is seen, as it is painted; what counts is whether there is one.
VEIL = 0.55
# How bright the photo is below a light that is painted, and the ground of a painted light where nothing is.
BELOW, GROUND = 0.45, {"fc": 0, "fbc": 32}
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
            raise ImageError("Give a picture first: drop one into the box called Picture.")
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

    def use_matte(
        self, request: gr.Request, painted: dict[str, Any] | None, start: str | None, image: str | None, belongs: Any
    ) -> tuple[str, dict[str, Any]]:
        """The mask that the strokes make of the matte that was started from; and which picture it belongs to."""
        from ...imaging.matte_brush import retouched

        if not painted or not start:
            raise shown(ImageError("Press 'Show the matte' first, then paint on it."), request)
        try:
            alpha = _as_matte(start)
            for layer in map(_opaque, painted.get("layers") or []):
                alpha = retouched(alpha, layer)
        except ImageError as error:
            raise shown(error, request) from error
        return self._save(request, alpha), {**(belongs or {}), "mask": image}

    def begin_light(self, request: gr.Request, image: str | None, light: Any, workflow: Any) -> Any:
        """What a light is painted on: the photo, dimmed; nothing where no light is to be painted."""
        from ...imaging.matte_brush import canvas

        if not image or light != "upload" or workflow not in GROUND:
            return None
        try:
            picture = self.work.pictures.of(image).rgb
        except ImageError as error:
            raise shown(error, request) from error
        ground = (canvas(picture, _all_of(picture)) * BELOW).astype("uint8")
        return {"background": ground, "layers": [], "composite": ground}

    def use_light(self, request: gr.Request, painted: dict[str, Any] | None, workflow: Any) -> tuple[Any, Any, str]:
        """The painted light, softened, as the light map (fc) or the background (fbc); and the light that uses it."""
        import cv2
        import numpy as np

        from ...recipes import save_png

        if not painted or not painted.get("layers") or workflow not in GROUND:
            raise shown(ImageError("Paint where the light comes from first."), request)
        light = np.full((*painted["layers"][0].shape[:2], 3), GROUND[workflow], np.float32)
        for layer in map(_opaque, painted["layers"]):
            covers = layer[..., 3:].astype(np.float32) / 255
            light = light * (1 - covers) + layer[..., :3] * covers
        path = self.work.folder(request) / "light.png"
        soft = cv2.GaussianBlur(light, (0, 0), SOFT * min(light.shape[:2]))
        save_png(path, soft.round().clip(0, 255).astype(np.uint8))
        made = str(path)
        return (made, gr.skip(), "upload") if workflow == "fc" else (gr.skip(), made, "upload")

    def _save(self, request: gr.Request, alpha: Any) -> str:
        from ...recipes import save_png

        path: Path = self.work.folder(request) / "matte.png"
        save_png(path, (alpha[..., 0] * 255).round().astype("uint8"))
        return str(path)


def _as_matte(path: str) -> Any:
    from ...imaging.images import read_image

    return read_image(path)[0][..., :1].astype("float32") / 255


def _all_of(picture: Any) -> Any:
    import numpy as np

    return np.ones((*picture.shape[:2], 1), np.float32)


def _opaque(layer: Any) -> Any:
    """A layer (HxWx4 uint8) whose strokes cover what is below them, as they are meant to."""
    import numpy as np

    alpha = (layer[..., 3:].astype(np.float32) / VEIL).clip(0, 255).astype(np.uint8)
    return np.concatenate([layer[..., :3], alpha], axis=2)


def show_matte_tools(page: Page, painting: Painting) -> None:
    """Buttons and an editor that make a mask out of the automatic matte; /matte gives the matte itself."""
    from ...imaging.matte_brush import ADD, REMOVE

    inputs = [page.inputs[name] for name in ("image", "mask", "matting")]
    defaults = {name: page.defaults[name] for name in ("image", "mask", "matting")}
    start = picture_input(visible="hidden", label="Matte")
    button = gr.Button("Show the matte, to paint on it", elem_id="show-matte")
    editor = _editor("Green adds to the subject, red takes away", "matte-editor", 24, (ADD, REMOVE), fixed=True)
    used = gr.Button("Use this matte", visible=False, elem_id="use-matte")
    found = button.click(
        with_signature(painting.matte, defaults),
        inputs,
        start,
        api_name="matte",
        api_description=painting.matte.__doc__,
        concurrency_id="gpu",
        show_progress_on=button,
    )
    opened = found.success(painting.begin, [page.inputs["image"], start], editor, **DECODE, **HIDDEN)
    opened.success(_shown, None, [editor, used], **QUIET)
    belongs = page.looks["belongs"]
    used.click(
        painting.use_matte,
        [editor, start, page.inputs["image"], belongs],
        [page.inputs["mask"], belongs],
        **DECODE,
        **HIDDEN,
    )
    page.looks["matte-editor"] = [editor, used]


def show_light_tools(page: Page, painting: Painting) -> None:
    """An editor over the photo that paints the light map (fc) or the background (fbc)."""
    with gr.Column(elem_classes=["when-map", "not-env"]):
        page.looks["paint"] = gr.Button("Paint the light on the photo", size="sm", elem_id="paint")
        editor = _editor("Paint where light comes from", "light-editor", 60, LIGHT_COLOURS)
        used = gr.Button("Use this light", visible=False, elem_id="use-light")
    page.looks["light-editor"] = [editor, used]


def bind_light_tools(page: Page, painting: Painting) -> None:
    """Open the editor by its button, and where a light map is chosen and none is there."""
    editor, used = page.looks["light-editor"]
    image, light, workflow, given = (page.inputs[name] for name in ("image", "light", "workflow", "light_map"))

    def begin(request: gr.Request, image: str | None, light: Any, workflow: Any) -> tuple[Any, Any, Any]:
        ground = painting.begin_light(request, image, light, workflow)
        return (gr.skip(),) * 3 if ground is None else (ground, *_shown())

    def chosen(request: gr.Request, image: str | None, light: Any, workflow: Any, given: str | None) -> Any:
        return begin(request, image, None if given or workflow != "fc" else light, workflow)

    outputs = [editor, editor, used]
    page.looks["paint"].click(begin, [image, light, workflow], outputs, **DECODE, **HIDDEN)
    light.input(chosen, [image, light, workflow, given], outputs, show_progress="hidden", **DECODE, **HIDDEN)
    used.click(painting.use_light, [editor, workflow], [given, page.inputs["background"], light], **DECODE, **HIDDEN)


def _editor(label: str, elem_id: str, size: int, colours: Sequence[str], fixed: bool = False) -> Canvas:
    veiled: list[str | tuple[str, float]] = [(colour, VEIL) for colour in colours]
    return Canvas(
        label=label,
        type="numpy",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(size, veiled, veiled[0], color_mode="fixed" if fixed else "defaults"),
        height=400,
        format="png",
        visible=False,
        elem_id=elem_id,
    )


def _shown() -> tuple[Any, Any]:
    return gr.update(visible=True), gr.Button(visible=True)
