"""What is done to pictures without a model: light as gains, finishing, mixing, normals, shading.

from iclight.editing import apply_light, read_layer

relit = apply_light(other_export, read_layer("light.exr"), matte)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public names and the rooms they live in; nothing is imported before it is asked for.
PUBLIC = {
    "GainMap": "gain_map",
    "LightMix": "mixing",
    "LightWeight": "mixing",
    "apply_light": "finish",
    "finished": "finish",
    "measure_gain": "gain_map",
    "read_layer": "exports",
    "read_normals": "normal_maps",
    "save_layer": "exports",
    "shade": "shading",
    "write_normals": "normal_maps",
}


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(f".{PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
