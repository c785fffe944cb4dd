"""ComfyUI nodes over iclight: relight, finish on the photo's own pixels, mix lights, normals, shade, environments.

ComfyUI loads this folder from `custom_nodes`. Where it has the V3 API, nodes are V3; else, V1.
"""

from __future__ import annotations

from .specs import NODES

try:
    from .v3 import comfy_entrypoint

    NODE_CLASS_MAPPINGS = None  # or ComfyUI would not look for the entry point
    __all__ = ["NODE_CLASS_MAPPINGS", "comfy_entrypoint"]
except ImportError:
    from .v1 import classes, names

    NODE_CLASS_MAPPINGS = classes(NODES)
    NODE_DISPLAY_NAME_MAPPINGS = names(NODES)
    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
