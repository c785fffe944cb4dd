"""What a batch was given (files, folders, patterns, manifests, addresses) as one list of what is asked for.

Folders are walked in the order of names, with those inside them; what lies in the output's folder is no input.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ImageError, SettingsError, quoted
from . import storage
from .tables import is_table, read_table

# Names that a folder's pictures have; what a file really is, its first bytes say when it is read.
_KINDS = "png jpg jpeg jfif webp avif heic heif tif tiff bmp gif jp2 j2k ppm pgm pbm tga"
PICTURES = tuple(f".{kind}" for kind in _KINDS.split(" "))


@dataclass(frozen=True)
class Asked:
    """One row before it is checked.

    `cells`: what it says, by column. `base`: the folder that its paths are seen from. `folder`: where below the
    output's folder its picture belongs. `error`: why it could not be read.
    """

    cells: dict[str, Any] = field(default_factory=dict)
    base: str = ""
    folder: str = ""
    error: SettingsError | None = None

    @property
    def picture(self) -> Any:
        return self.cells.get("input", self.cells.get("image"))


def gather(given: Sequence[str], output: str | None) -> list[Asked]:
    """Everything that was given, in its order. `output`: the folder of the results, None where rows name their own.

    Raises ImageError for what is not there, SettingsError for a folder without pictures, or one that is the output's.
    """
    return [asked for one in given for asked in _each(one, output)]


def _each(given: str, output: str | None) -> Iterator[Asked]:
    if is_table(given):
        for cells in read_table(given):
            base = storage.folder_of(given)
            yield Asked(error=cells) if isinstance(cells, SettingsError) else Asked(cells, base)
    elif storage.is_remote(given) or os.path.isfile(given):
        yield Asked({"input": given})
    elif os.path.isdir(given):
        yield from _walked(given, output)
    elif glob.has_magic(given):
        matching = sorted(path for path in glob.glob(given, recursive=True) if os.path.isfile(path))
        if not matching:
            raise ImageError("No file is called like {pattern}.", pattern=quoted(given))
        yield from (Asked({"input": path}) for path in matching)
    else:
        storage.check_there(given, "The picture")


def _walked(top: str, output: str | None) -> Iterator[Asked]:
    apart = None if output is None or storage.is_remote(output) else os.path.realpath(output)
    if apart == os.path.realpath(top):
        raise SettingsError(
            "The results would lie among the pictures of {folder}, and be taken for pictures next time: give another "
            "folder with -o, one inside it if you like.",
            folder=quoted(top),
        )
    count = 0
    for folder, folders, files in os.walk(top):
        kept = (name for name in sorted(folders) if not name.startswith("."))
        folders[:] = [name for name in kept if os.path.realpath(os.path.join(folder, name)) != apart]
        for name in sorted(files):
            if name.lower().endswith(PICTURES) and not name.startswith("."):
                count += 1
                below = os.path.relpath(folder, top)
                yield Asked({"input": os.path.join(folder, name)}, folder="" if below == "." else below)
    if not count:
        raise SettingsError("There is no picture in the folder {folder}.", folder=quoted(top))
