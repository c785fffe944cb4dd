"""What comes out of a request: PNGs with their recipes in a folder of the visitor's, and a line about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...parameters import LIGHT_INPUTS, NORMAL_LIGHTS
from ...settings import INPUTS, Settings
from ..ui.i18n import Say

NORMALS_CAPTIONS = (
    "normals",
    *(f"gain, {light}" for light in NORMAL_LIGHTS),
    *(f"light from {light}" for light in NORMAL_LIGHTS),
)
# Pixels of a thumbnail's longer side.
THUMBNAIL = 256


@dataclass(frozen=True)
class Shot:
    """One picture that was made: its file, the photo before at the same size, a thumbnail; what it was made with.

    `values` are the page's inputs as they were, with the seed that was used.
    """

    path: str
    before: str
    thumbnail: str
    values: dict[str, Any]
    settings: Settings


def recipe_of(result: Any, values: dict[str, Any], kind: str) -> Any:
    """The recipe of a Result or Normals that was made from a page's inputs."""
    from ...recipes import Recipe, describe_asked, describe_input, software_versions

    inputs = {
        name: describe_input(values[name])
        for name in INPUTS
        if values.get(name)
        and (name not in LIGHT_INPUTS.values() or name == result.settings.light_input)
        and (name != "behind" or result.settings.finish_background == "own")
    }
    model = {**result.model, "asked": describe_asked(result.model["asked"], None)}
    return Recipe(result.settings, model, result.matting, inputs, kind, software=software_versions())


def save_all(folder: Path, result: Any, values: dict[str, Any], kind: str) -> list[str]:
    """Every picture of a result, with its recipe; the paths in the result's order."""
    from ...recipes import save_png

    recipe, paths = recipe_of(result, values, kind), []
    stem = Path(recipe.inputs["image"]["file"]).stem[:40]
    for index, picture in enumerate(result.images):
        path = folder / f"{stem}-{kind}-{recipe.settings.seed}-{index + 1}.png"
        save_png(path, picture, replace(recipe, index=index))
        paths.append(str(path))
    return paths


def save_plain(folder: Path, name: str, picture: Any) -> str:
    from ...recipes import save_png

    save_png(folder / f"{name}.png", picture)
    return str(folder / f"{name}.png")


def shots_of(folder: Path, result: Any, paths: list[str], values: dict[str, Any]) -> list[Shot]:
    """The pictures of a relighting for the slider and the history."""
    from ...imaging.images import read_image

    photo, _ = read_image(values["image"])
    height, width = result.images[0].shape[:2]
    before = save_plain(folder, f"before-{result.settings.seed}", crop(photo, width, height))
    used = {**values, "seed": result.settings.seed, "random_seed": False}
    return [
        Shot(path, before, _thumbnail(Path(path), picture), used, result.settings)
        for path, picture in zip(paths, result.images, strict=True)
    ]


def _thumbnail(path: Path, picture: Any) -> str:
    from PIL import Image

    small = Image.fromarray(picture).convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    target = path.with_name(f"{path.stem}-small.jpg")
    small.save(target, quality=85)
    return str(target)


def about(folder: Path, result: Any, say: Say, seeds: list[int] | None = None) -> tuple[str, str, int, str]:
    """The prepared foreground, the matte, the seed, and the line below the pictures."""
    matte = (result.alpha * 255).round().astype("uint8").repeat(3, axis=2)
    settings, identity = result.settings, result.model
    line = say(
        "**{seconds:.1f} s** · model {model} · {device} {dtype} · matting {matting} · {width}×{height}, seed {seed}",
        seconds=result.seconds,
        model=identity["name"],
        device=identity["device"],
        dtype=identity["dtype"],
        matting=result.matting,
        width=settings.width,
        height=settings.height,
        seed=", ".join(map(str, seeds or [settings.seed])),
    )
    return (
        save_plain(folder, "prepared", result.foreground),
        save_plain(folder, "matte", matte),
        settings.seed,
        line,
    )


def crop(picture: Any, width: int, height: int) -> Any:
    from ...imaging.images import resize_and_center_crop

    return resize_and_center_crop(picture, width, height)
