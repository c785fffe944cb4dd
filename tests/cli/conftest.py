"""A photo to work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import write_photo


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path)
