"""The components of the page that events tie together, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# How events look to programs, and on the page: not at all; and at once, without a sign of work.
HIDDEN: dict[str, Any] = {"api_visibility": "private"}
LIVE: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
QUIET: dict[str, Any] = {**LIVE, **HIDDEN}
# Events that decode visitors' files: in the queue, a few at a time, because each may take a gigabyte.
DECODE: dict[str, Any] = {"concurrency_id": "decode", "concurrency_limit": 2}


@dataclass
class Page:
    """`inputs` are what every kind of work is given, by the names of the API; `outputs` what a relighting fills in.

    `workflow` is the one that the page opens on. `looks`: what else several rooms touch.
    """

    workflow: str
    inputs: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)
    looks: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, component: Any, default: Any = None) -> Any:
        """Register an input; `default` is what its API parameter falls back to where the component is empty."""
        self.inputs[name] = component
        self.defaults[name] = default
        return component

    @property
    def values(self) -> list[Any]:
        return list(self.inputs.values())
