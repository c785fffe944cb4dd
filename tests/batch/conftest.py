"""A folder of small photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_rows import write_picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, one of them a folder deeper, and a file that is no picture."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        write_picture(folder / name, seed)
    (folder / "notes.txt").write_text("not a picture")
    return folder
