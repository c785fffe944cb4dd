"""What programs are answered: pictures as base64, and errors in the form that OpenAI's clients read."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from ..errors import Cancelled, IclightError, ImageError, Message, OutOfMemory, SettingsError, WeightsError
from ..imaging.crop import resize_and_center_crop
from ..imaging.images import Picture
from ..parameters import PARAMETERS
from ..recipes import png_bytes, recipe_of
from ..results import Result
from ..settings import INPUTS

FORMATS = ("png", "jpeg", "webp")
# What a client that hung up is answered, for the counts; nginx's number.
HUNG_UP = 499


class ApiError(Exception):
    """A request that is refused: status, words, the field they are about, and a short code for programs."""

    def __init__(self, status: int, words: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.param, self.code = status, words, param, code
        self.retry_after: int | None = None


def as_api_error(error: IclightError) -> ApiError:
    """An error of the engine: the caller's to mend (400), or the server's."""
    words = str(error)
    if isinstance(error, (SettingsError, ImageError)):
        return ApiError(400, words, _field_of(error), "invalid_value")
    if isinstance(error, OutOfMemory):  # asked for again, it would fail again: no 5xx, which clients repeat
        return ApiError(400, words, None, "out_of_memory")
    if isinstance(error, Cancelled):
        return ApiError(HUNG_UP, words, None, "cancelled")
    return ApiError(503 if isinstance(error, WeightsError) else 500, words, None, "model_error")


def _field_of(error: IclightError) -> str | None:
    """The form's field that an error is about, where it says so: a parameter, or a file by what readers call it."""
    name, what = error.values.get("name"), error.values.get("what")
    if isinstance(what, Message):
        name = next((field for field, noun in INPUTS.items() if noun == what.values.get("input")), None)
    return name if name in PARAMETERS or name in INPUTS else None


def encode(
    result: Result,
    inputs: Mapping[str, Any],
    kind: str = "png",
    quality: int = 95,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """A result's pictures as base64 of files.

    `inputs`: names of `INPUTS` -> what was lit, for the recipe that a PNG carries. `kind`: one of `FORMATS`. `quality`:
    1 to 100, of JPEG and WebP. `size`: (width, height) to scale and crop to; such a PNG has no recipe, which would make
    another picture.
    """
    recipe = recipe_of(result, inputs)
    files = []
    for index, picture in enumerate(result.images):
        if size is not None and size != (picture.shape[1], picture.shape[0]):
            file = _file(resize_and_center_crop(picture, *size), kind, quality, result.icc)
        elif kind == "png":
            file = png_bytes(picture, replace(recipe, index=index), icc=result.icc)
        else:
            file = _file(picture, kind, quality, result.icc)
        files.append(base64.b64encode(file).decode("ascii"))
    return files


def _file(picture: Any, kind: str, quality: int, icc: bytes | None) -> bytes:
    if kind == "png":
        return png_bytes(picture, icc=icc)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(picture).save(buffer, kind.upper(), quality=quality, icc_profile=icc, **options)
    return buffer.getvalue()


def as_mask(mask: Picture) -> Picture:
    """OpenAI's mask as the engine's matte: what is transparent is to be edited. One without alpha is a matte already:
    bright is the subject."""
    return mask if mask.alpha is None else replace(mask, alpha=1 - mask.alpha)
