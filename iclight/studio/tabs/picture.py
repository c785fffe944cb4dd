"""What belongs to a picture goes with it: its mask, a size that a recipe brought, the desk's lights, the normals.

Also says what was put into the box: a preview of what browsers cannot show, a line about what cannot be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import ImageError
from ...imaging.formats import OPENING, is_heic
from ..service.actions import Actions
from ..service.outputs import crop, save_plain, shown_size
from ..service.sessions import session_of
from ..ui.i18n import Say, as_text, speaker, translate
from ..ui.page import DECODE, HIDDEN, Page
from .mix import MixTab
from .normals import NormalsTab

# How files begin that browsers show by themselves.
SHOWABLE = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")
# And some of those that they do not all show, by the bytes near their beginning.
KINDS = {b"ftypavif": "AVIF ", b"II": "TIFF ", b"MM": "TIFF "}
QUIETLY: dict[str, Any] = {**DECODE, **HIDDEN, "show_progress": "hidden"}


def bind_picture(page: Page, work: Actions, desk: MixTab, relief: NormalsTab) -> None:
    """Look at every new picture, and let go what belongs to the one before."""
    image, mask, belongs = page.inputs["image"], page.inputs["mask"], page.looks["belongs"]
    sizes = [page.inputs[name] for name in ("width", "height")]
    of_desk, of_normals, editors = (page.looks[name] for name in ("of-desk", "of-normals", "editors"))

    def look(request: gr.Request, path: str | None, own: str | None, kept: Any) -> list[Any]:
        say, session = speaker(request), session_of(request)
        if not path:
            return [gr.skip(), "", "", *[gr.skip()] * (4 + len(of_desk) + len(of_normals) + len(editors))]
        kept, usable = dict(kept or {}), True
        try:
            peek, said = _peek(work, request, path), []
        except ImageError as error:
            peek, said, usable = "", [as_text(f"{Path(path).name}: {translate(error, say)}")], False
        # A mask that was there before any picture is this one's.
        mask_goes, size_goes = (kept.get(name) not in (None, path) for name in ("mask", "size"))
        if own and mask_goes:
            said.append(say("The mask was another picture's and is put away."))
        if size_goes:
            said.append(say("The size was another picture's; now it follows this one."))
        return [
            gr.skip() if usable else None,
            peek,
            " ".join(said),
            None if mask_goes else gr.skip(),
            *[None if size_goes else gr.skip()] * 2,
            {"mask": path, "size": path if kept.get("size") == path else None},
            *_emptied(of_desk, desk.leave(session, path), say),
            *_emptied(of_normals, relief.leave(session, path), say),
            *[gr.update(visible=False)] * len(editors),
        ]

    outputs = [image, page.looks["peek"], page.looks["said"], mask, *sizes, belongs, *of_desk, *of_normals, *editors]
    image.change(look, [image, mask, belongs], outputs, **QUIETLY)
    mask.upload(lambda path, kept: {**(kept or {}), "mask": path}, [image, belongs], belongs, **QUIETLY)


def _emptied(parts: list[Any], left: bool, say: Say) -> list[Any]:
    """Updates of a tab's parts, the last of them its line, once the picture that they show was left."""
    if not left:
        return [gr.skip()] * len(parts)
    return [*[None] * (len(parts) - 1), say("There is nothing for this picture yet.")]


def _peek(work: Actions, request: gr.Request, path: str) -> str:
    """A picture's size in pixels, and where browsers cannot show it, a preview. Raises ImageError for what is none."""
    picture = work.pictures.of(path)
    height, width = picture.rgb.shape[:2]
    with open(path, "rb") as file:
        opening = file.read(OPENING)
    if opening.startswith(SHOWABLE):
        return f"<span>{width}×{height}</span>"
    small = save_plain(work.folder(request), "preview", crop(picture.rgb, *shown_size(width, height)))
    kind = "HEIC " if is_heic(opening) else next((name for head, name in KINDS.items() if head in opening[:12]), "")
    return f'<img alt="" src="gradio_api/file={small}"><span>{kind}{width}×{height}</span>'
