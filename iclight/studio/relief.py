"""The normals of the picture, by session: estimated once, then read flatter or steeper, saved, and lit at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..errors import ImageError
from . import outcome
from .live import follow
from .sessions import PerSession
from .words import Say, speaker
from .work import Work, settings_of

if TYPE_CHECKING:
    from ..normals import Normals

# Sessions whose normals are kept: the longest unused goes first.
KEPT = 16
# What the fbc workflow's own defaults decide on the other workflows' pages.
FBC_ONLY = ("cfg", "steps")


class Relief:
    """The actions of one page's Normals tab."""

    def __init__(self, work: Work, gpu: Callable[..., Any]) -> None:
        self.work = work
        self._made: PerSession[Normals] = PerSession(KEPT)
        self._estimate = gpu(self._estimate_here)

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values that fbc is asked with. The four lights are fixed, so a missing background is no error here."""
        asked = {**values, "light": "ambient"}
        if self.work.engine.workflow != "fbc":
            asked = {name: value for name, value in asked.items() if name not in FBC_ONLY}
        self.work.check(asked, "fbc")
        return asked

    def normals(self, request: gr.Request, **values: Any) -> tuple[Any, ...]:
        """Estimate a subject's surface normals from four relightings (left, right, bottom, top)."""
        say, asked = speaker(request), self.check(values)
        with self.work.runs.of(request.session_hash) as flag:
            result = self._estimate(asked, flag, say)
        self._made.put(request.session_hash, result)
        folder = outcome.output_folder()
        paths = outcome.save_all(folder, result, asked, "normals")
        captions = [say(caption) for caption in outcome.NORMALS_CAPTIONS]
        return list(zip(paths, captions, strict=True)), *outcome.about(folder, result, say)

    def normal_map(self, request: gr.Request, **values: Any) -> str:
        """This session's normals (/normals) as a 16-bit PNG: `green` "opengl" (y up) or "directx" (y down)."""
        from ..normals import write_normals

        normals, green = self._of(request), str(values.get("green") or "opengl")
        path = outcome.output_folder() / f"normals-{green}.png"
        write_normals(path, normals.with_exponent(_number(values.get("exponent"), 5.0)).normal, green)
        return str(path)

    def map_picture(self, request: gr.Request, **values: Any) -> Any:
        """The normal map as a picture, read with an exponent."""
        return self._of(request).with_exponent(_number(values.get("exponent"), 5.0)).images[0]

    def shade(self, request: gr.Request, **values: Any) -> Any:
        """This session's picture (/normals) under a light from any direction, by its normals and no model: degrees
        counter-clockwise from the right, and towards the viewer (90: at the camera)."""
        from ..shading import shade

        normals = self._of(request).with_exponent(_number(values.get("exponent"), 5.0))
        height, width = normals.normal.shape[:2]
        # At the size of the normals: this is a preview, and it answers while a slider moves.
        return shade(
            outcome.crop(normals.picture, width, height),
            normals.normal,
            normals.matte,
            angle=_number(values.get("angle"), 135.0),
            elevation=_number(values.get("elevation"), 35.0),
            colour=str(values.get("colour") or "#ffffff"),
            ambient=_number(values.get("ambient"), 0.2),
            strength=_number(values.get("strength"), 1.0),
        )

    def forget(self, request: gr.Request) -> None:
        """Drop a closed tab's normals."""
        self._made.drop(request.session_hash)

    def _of(self, request: gr.Request) -> Normals:
        made = self._made.get(request.session_hash)
        if made is None:
            raise ImageError("There are no normals yet: press 'Estimate normals' first.")
        return made

    def _estimate_here(self, asked: dict[str, Any], flag: Path, say: Say) -> Normals:
        from ..normals import estimate_normals

        return estimate_normals(
            self.work.loaded(flag, "fbc"),
            asked["image"],
            settings_of("fbc", asked),
            mask=asked.get("mask"),
            on_step=follow(flag, say),
            exponent=_number(asked.get("exponent"), 5.0),
            matting=asked.get("matting"),
        )


def _number(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(value)
