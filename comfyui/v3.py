"""The nodes as classes of ComfyUI's third API (`comfy_api.latest`). Raises ImportError where there is none."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension, io

from .specs import CATEGORY, NODES, Node, Slot

_TYPES = {"IMAGE": io.Image, "MASK": io.Mask, "STRING": io.String, "INT": io.Int, "FLOAT": io.Float, "COMBO": io.Combo}


def _type_of(kind: str) -> Any:
    return _TYPES.get(kind) or io.Custom(kind)


def _input(slot: Slot) -> Any:
    options: dict[str, Any] = dict(slot.options)
    if slot.choices:
        options["options"] = list(slot.choices)
    return _type_of(slot.kind).Input(slot.name, optional=slot.optional, tooltip=slot.tip, **options)


def _class_of(node: Node) -> type:
    schema = io.Schema(
        node_id=node.id,
        display_name=node.title,
        category=CATEGORY,
        description=node.about,
        inputs=[_input(slot) for slot in node.inputs],
        outputs=[_type_of(kind).Output(name.replace(" ", "_"), display_name=name) for kind, name in node.outputs],
    )

    def define_schema(cls: type) -> Any:
        return schema

    def execute(cls: type, **given: Any) -> Any:
        return io.NodeOutput(*node.run(**given))

    members = {"define_schema": classmethod(define_schema), "execute": classmethod(execute), "__doc__": node.about}
    return type(node.id, (io.ComfyNode,), members)


class Extension(ComfyExtension):
    """All of iclight's nodes."""

    async def get_node_list(self) -> list[type]:
        return [_class_of(node) for node in NODES]


async def comfy_entrypoint() -> Extension:
    """What ComfyUI calls."""
    return Extension()
