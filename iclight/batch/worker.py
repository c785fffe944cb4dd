"""What every way of running a batch shares: a worker with its models, and the three stages of a row.

    worker = Worker({"model": "mini", "device": "cpu"})
    record = worker.run(row)  # or read, light and write, each on a thread of its own (`pipeline`)

Reading decodes, looks whether the work is done already, and cuts the subject out; lighting is the model's two passes;
writing finishes, encodes and saves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..diffusion.progress import OnStep
from ..editing.gain_map import GainMap
from ..errors import Cancelled, IclightError, ImageError, RecipeError
from ..imaging import images
from ..imaging.depths import Stored
from ..imaging.images import ImageLike, Picture
from ..recipes import Recipe, picture_bytes, read_recipe, recipe_of
from ..relighter import Relighter
from ..request import decode_inputs
from ..results import Prepared, Rendering, Request
from ..settings import INPUTS, Settings
from ..weights.catalogue import MATTINGS
from . import storage
from .rows import Record, Row, failure_of, outputs_of, record_of

# Backgrounds, maps and light maps that are kept decoded: rows often share one.
SHARED = 4


@dataclass(frozen=True)
class Work:
    """A row on its way: what it was opened to and prepared as, then what the model made of it; seconds by stage."""

    row: Row
    relighter: Relighter
    request: Request
    inputs: Mapping[str, ImageLike | None]
    prepared: Prepared
    seconds: dict[str, float]
    rendering: Rendering | None = None


class Worker:
    """Models for the workflows that rows ask for, each loaded once, with the first's parts where they are shared."""

    def __init__(self, engine: Mapping[str, Any], say: Callable[[str], None] = lambda _: None) -> None:
        """`engine`: keyword arguments of `Relighter.load` but the workflow. `say` hears what was loaded."""
        self._engine, self._say = dict(engine), say
        self._relighters: dict[str, Relighter | IclightError] = {}
        self._decode_shared = lru_cache(maxsize=SHARED)(_decode)

    def relighter(self, workflow: str) -> Relighter:
        """The workflow's model. Raises what `Relighter.load` raises, and does not try again."""
        if workflow not in self._relighters:
            loaded = [one for one in self._relighters.values() if isinstance(one, Relighter)]
            try:
                new = Relighter.load(workflow=workflow, share=loaded[0] if loaded else None, **self._engine)
            except IclightError as error:
                self._relighters[workflow] = error
            else:
                self._relighters[workflow] = new
                self._say(" ".join(filter(None, (new.model.notice, f"{new.model.name} on {new.placement}"))))
        relighter = self._relighters[workflow]
        if isinstance(relighter, IclightError):
            raise relighter
        return relighter

    def run(self, row: Row, on_step: OnStep | None = None) -> Record:
        """All of a row, one stage after another. Raises Cancelled where `on_step` says so."""
        work = self.read(row)
        if isinstance(work, Work):
            work = self.light(work, on_step)
        return self.write(work) if isinstance(work, Work) else work

    def read(self, row: Row) -> Work | Record:
        """Decode, check and cut out; a record where the row is done already or cannot be done."""
        return self._attempt(row, lambda: self._read(row))

    def light(self, work: Work, on_step: OnStep | None = None) -> Work | Record:
        """Both passes. Raises Cancelled where `on_step` says so."""
        return self._attempt(work.row, lambda: self._light(work, on_step))

    def write(self, work: Work) -> Record:
        """Finish, encode and save."""
        return self._attempt(work.row, lambda: self._write(work))

    @staticmethod
    def _attempt(row: Row, stage: Callable[[], Any]) -> Any:
        """A row's trouble is its own: whatever goes wrong becomes its record, a fault of ours and full memory too."""
        try:
            return stage()
        except Cancelled:
            raise
        except Exception as error:
            return failure_of(row.index, row.inputs["image"], error)

    def _read(self, row: Row) -> Work | Record:
        relighter = self.relighter(row.workflow)
        started = time.perf_counter()
        settings = Settings.for_workflow(row.workflow, **{**relighter.defaults, **row.settings})
        inputs = decode_inputs(
            {name: self._fetched(name, path) for name, path in row.inputs.items() if settings.looks_at(name)},
            lambda source, what: source if isinstance(source, Picture) else _decode(source, what),
        )
        request = relighter.open(settings=settings, matting=row.matting, **inputs)
        if there := _there(row, relighter, request, inputs):
            return there
        prepared = relighter.prepare(request.picture.rgb, request.own_alpha, row.matting)
        return Work(row, relighter, request, inputs, prepared, {"read_seconds": time.perf_counter() - started})

    def _fetched(self, name: str, path: str) -> ImageLike:
        """The picture, or an input that rows may share, decoded once for as long as they do."""
        what = f"The {INPUTS[name]}"
        if name in ("background", "light_map", "behind"):
            return self._decode_shared(path, what)
        fetched = storage.fetch(path, what)
        if storage.is_remote(path) and name != "environment":
            return replace(_decode(fetched, what), name=storage.name_of(path))
        return fetched

    @staticmethod
    def _light(work: Work, on_step: OnStep | None) -> Work:
        started = time.perf_counter()
        with work.relighter.exclusive():
            rendering = work.relighter.draw(work.request, work.prepared, on_step)
        seconds = {**work.seconds, "light_seconds": time.perf_counter() - started}
        return replace(work, rendering=rendering, seconds=seconds)

    @staticmethod
    def _write(work: Work) -> Record:
        assert work.rendering is not None
        started = time.perf_counter()
        result = work.relighter.finish(work.request, work.prepared, work.rendering)
        recipe = recipe_of(result, work.inputs, folder=_recipe_folder(work.row))
        pictures: Sequence[Stored] = result.deep or result.images
        outputs = outputs_of(work.row.output, len(pictures))
        for index, (path, picture) in enumerate(zip(outputs, pictures, strict=True)):
            storage.write(path, picture_bytes(path, picture, replace(recipe, index=index), result.icc))
        seconds = {**work.seconds, "write_seconds": time.perf_counter() - started}
        return record_of(
            work.row.index,
            work.row.inputs["image"],
            "written",
            outputs=outputs,
            recipe=recipe.digest,
            workflow=work.row.workflow,
            seed=result.settings.seed,
            light_stops=None if result.light is None else brightening(result.light),
            matting=result.matting,
            matte_doubts=[str(doubt) for doubt in result.matte_doubts],
            seconds=round(sum(seconds.values()), 3),
            **{name: round(value, 3) for name, value in seconds.items()},
        )


def _decode(source: ImageLike, what: str) -> Picture:
    if isinstance(source, str) and storage.is_remote(source):
        return replace(images.read_picture(storage.fetch(source, what), what), name=storage.name_of(source))
    return images.read_picture(source, what)


def brightening(light: GainMap) -> float:
    """Stops by which a relighting made the subject brighter: the mean of the gain, weighed by the matte."""
    weight = light.matte / light.matte.sum()
    return round(float((light.gain.mean(axis=2, keepdims=True) * weight).sum(dtype=np.float64)), 3)


def _recipe_folder(row: Row) -> Path | None:
    """The folder from which recipes name their inputs; None, for bare names, where a row's files are not all here."""
    remote = any(map(storage.is_remote, (row.output, *row.inputs.values())))
    return None if remote else Path(row.output).parent


def _there(row: Row, relighter: Relighter, request: Request, inputs: Mapping[str, ImageLike | None]) -> Record | None:
    """The record of a row whose pictures are there already, by their recipes and the inputs' fingerprints; else None.

    Raises ImageError for a file in their place that no recipe is in: it is somebody's own.
    """
    settings = request.settings
    count = 1 if settings.finish == "native" else settings.num_images
    outputs = outputs_of(row.output, count)
    recipes = [_recipe_at(path) for path in outputs]
    whole = [recipe for recipe in recipes if recipe is not None]
    if len(whole) < count:
        return None
    used = relighter.resolve_matting(row.matting) if request.own_alpha is None else "alpha"
    used = "mask" if request.has_mask else used
    if used in MATTINGS and MATTINGS[used].file:
        relighter.matting_network(used)  # whose hash is part of who made it
    if row.settings.get("seed", 0) is None:
        settings = settings.replace(seed=whole[0].settings.seed)  # one was drawn, and stays
    result = SimpleNamespace(settings=settings, model=relighter.identity(used), matting=used)
    expected = recipe_of(result, inputs, folder=_recipe_folder(row))
    if any(replace(expected, index=index).digest != recipe.digest for index, recipe in enumerate(whole)):
        return None
    return record_of(
        row.index,
        row.inputs["image"],
        "there",
        outputs=outputs,
        recipe=expected.digest,
        workflow=row.workflow,
        seed=settings.seed,
        matting=used,
    )


def _recipe_at(path: str) -> Recipe | None:
    """The recipe in a file; None where no file is."""
    if not storage.exists(path):
        return None
    try:
        source = storage.fetch(path, "The output")
        return read_recipe(source)
    except (RecipeError, ImageError) as error:
        raise ImageError(
            "{path} is there already and was not written by iclight; move it away, or give the results another place.",
            path=path,
        ) from error
