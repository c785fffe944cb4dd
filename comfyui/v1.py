"""The nodes as classes of ComfyUI's first API, for versions without the third."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .specs import CATEGORY, Node, Slot


def classes(nodes: Iterable[Node]) -> dict[str, type]:
    """NODE_CLASS_MAPPINGS."""
    return {node.id: _class_of(node) for node in nodes}


def names(nodes: Iterable[Node]) -> dict[str, str]:
    """NODE_DISPLAY_NAME_MAPPINGS."""
    return {node.id: node.title for node in nodes}


def _class_of(node: Node) -> type:
    def input_types(cls: type) -> dict[str, dict[str, Any]]:
        return {
            group: {slot.name: _input(slot) for slot in node.inputs if slot.optional == optional}
            for group, optional in (("required", False), ("optional", True))
        }

    def execute(self: Any, **given: Any) -> tuple[Any, ...]:
        return node.run(**given)

    return type(
        node.id,
        (),
        {
            "__doc__": node.about,
            "INPUT_TYPES": classmethod(input_types),
            "RETURN_TYPES": tuple(kind for kind, _ in node.outputs),
            "RETURN_NAMES": tuple(name for _, name in node.outputs),
            "FUNCTION": "execute",
            "CATEGORY": CATEGORY,
            "DESCRIPTION": node.about,
            "execute": execute,
        },
    )


def _input(slot: Slot) -> tuple[Any, dict[str, Any]]:
    return (list(slot.choices) if slot.kind == "COMBO" else slot.kind), {**dict(slot.options), "tooltip": slot.tip}
