"""What comes out of a request: PNGs with their recipes in a folder of the visitor's, and a line about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...parameters import NORMAL_LIGHTS
from ...settings import Settings
from ...weights.files import whole_file
from ..ui.i18n import Say, as_text, translate

if TYPE_CHECKING:
    from ...imaging.images import Picture

NORMALS_CAPTIONS = (
    "normals",
    *(f"gain, {light}" for light in NORMAL_LIGHTS),
    *(f"light from {light}" for light in NORMAL_LIGHTS),
)
# Pixels of the longer side: of a thumbnail, and of what is shown under a slider.
THUMBNAIL, SHOWN = 256, 1600


@dataclass(frozen=True)
class Shot:
    """One picture that was made: its file, a thumbnail, what it was made with; before and after, for a slider.

    `values` are the page's inputs as they were, with the seed that was used.
    """

    path: str
    before: str
    after: str
    thumbnail: str
    values: dict[str, Any]
    settings: Settings
    kind: str = "relight"


def save_all(
    folder: Path,
    result: Any,
    pictures: dict[str, Any],
    kind: str,
    icc: bytes | None = None,
    deep: Sequence[Any] | None = None,
) -> list[str]:
    """Every picture of a result, with its recipe and colours (`Result.icc`); the paths in the result's order.

    `deep`: the pictures in 16 bits (`Result.deep`); they lie beside the others, where `as_tiff` finds them.
    """
    from ...recipes import recipe_of, save_picture, save_png

    recipe, paths = recipe_of(result, pictures, kind), []
    stem = Path(recipe.inputs["image"]["file"]).stem[:40]
    for index, picture in enumerate(result.images):
        kept = "-transparent" if picture.shape[2] == 4 else ""
        path = folder / f"{stem}-{kind}-{recipe.settings.seed}-{index + 1}{kept}.png"
        save_png(path, picture, replace(recipe, index=index), icc=icc)
        if deep is not None:
            save_picture(path.with_suffix(".tif"), deep[index], replace(recipe, index=index), icc)
        paths.append(str(path))
    return paths


def save_plain(folder: Path, name: str, picture: Any, icc: bytes | None = None) -> str:
    """A PNG that is looked at and not kept: written quickly rather than small."""
    from ...recipes import save_png

    save_png(folder / f"{name}.png", picture, quick=True, icc=icc)
    return str(folder / f"{name}.png")


def shots_of(folder: Path, result: Any, paths: list[str], values: dict[str, Any], photo: Picture) -> list[Shot]:
    """The pictures of a relighting for the slider and the history. `photo` is what was lit."""
    pictures = dict(zip(paths, result.images, strict=True))
    return shots(folder, result.settings, pictures, values, photo.rgb, "relight", result.icc)


def shots(
    folder: Path,
    settings: Settings,
    pictures: dict[str, Any],
    values: dict[str, Any],
    photo: Any,
    kind: str,
    icc: bytes | None = None,
) -> list[Shot]:
    """Saved pictures (path -> pixels, all of one size) of a photo (HxWx3 uint8) for the slider and the history.

    `values`: the page's inputs as they were; `kind` as a recipe has it. `icc`: the profile that the
    saved pictures are in, None for sRGB; the photo is sRGB.
    """
    height, width = next(iter(pictures.values())).shape[:2]
    size = shown_size(width, height)
    before = save_plain(folder, f"before-{settings.seed}", crop(photo, *size))
    used = {**values, "seed": settings.seed, "random_seed": False}
    made = []
    for path, picture in pictures.items():
        after = path
        if size != (width, height):
            after = save_plain(folder, f"{Path(path).stem}-shown", crop(picture, *size), icc)
        made.append(Shot(path, before, after, _thumbnail(Path(path), picture, icc), used, settings, kind))
    return made


def shown_size(width: int, height: int) -> tuple[int, int]:
    """The size a picture is shown at beside another: its own, at most `SHOWN` a side."""
    scale = min(1.0, SHOWN / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def as_jpeg(path: str) -> str:
    """A PNG's JPEG beside it, as good as one wants to look at; transparent places are white."""
    from PIL import Image

    target = Path(path).with_suffix(".jpg")
    if not target.is_file():
        with Image.open(path, formats=("PNG",)) as picture:
            ground = Image.new("RGB", picture.size, "white")
            ground.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
        with whole_file(target) as draft:
            ground.save(draft, "JPEG", quality=95, subsampling=0, icc_profile=picture.info.get("icc_profile"))
    return str(target)


def as_tiff(path: str) -> str:
    """A result's TIFF of 16 bits beside its PNG: the photo's own depth, if it was kept, else the PNG's values."""
    import numpy as np
    from PIL import Image

    from ...recipes import read_recipe, save_picture

    target = Path(path).with_suffix(".tif")
    if not target.is_file():
        with Image.open(path, formats=("PNG",)) as picture:
            save_picture(target, np.asarray(picture), read_recipe(path), picture.info.get("icc_profile"))
    return str(target)


def _thumbnail(path: Path, picture: Any, icc: bytes | None) -> str:
    from PIL import Image

    small = Image.fromarray(picture).convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    target = path.with_name(f"{path.stem}-small.jpg")
    with whole_file(target) as draft:
        small.save(draft, "JPEG", quality=85, icc_profile=icc)
    return str(target)


def about(folder: Path, result: Any, say: Say, seeds: list[int] | None = None) -> tuple[str, str, int, str]:
    """The prepared foreground, the matte, the seed, and the line below the pictures.

    Both pictures as the model saw them: they are looked at, and a photo's own size would take longer than the model.
    """
    from ...imaging.crop import highres_size

    settings, identity = result.settings, result.model
    full_height, full_width = result.images[0].shape[:2]
    size = highres_size(settings.width, settings.height, settings.highres_scale)
    foreground = crop(result.foreground, *size)
    matte = crop((result.alpha[..., 0] * 255).round().astype("uint8"), *size)[..., None].repeat(3, axis=2)
    line = say(
        "**{seconds:.1f} s** · model {model} · {device} {dtype} · matting {matting} · {width}×{height}, seed {seed}",
        seconds=result.seconds,
        model=identity["name"],
        device=identity["device"],
        dtype=identity["dtype"],
        matting=result.matting,
        width=full_width,
        height=full_height,
        seed=", ".join(map(str, seeds or [settings.seed])),
    )
    if result.matte_doubts:
        doubts = " ".join(as_text(translate(doubt, say)) for doubt in result.matte_doubts)
        ways = say("Look at the matte: paint it under Matte, or choose there to light the whole picture.")
        line += f'<br><em class="doubt">{doubts}</em> {ways}'
    return (
        save_plain(folder, "prepared", foreground),
        save_plain(folder, "matte", matte),
        settings.seed,
        line,
    )


def crop(picture: Any, width: int, height: int) -> Any:
    from ...imaging.crop import resize_and_center_crop

    return resize_and_center_crop(picture, width, height)
