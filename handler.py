"""For Hugging Face's Inference Endpoints, which make an `EndpointHandler` of the repository they serve and call it.

{"inputs": "<base64 of a picture>", "parameters": {"prompt": "sunset over sea", "light": "left", "seed": 7}}
"""

from __future__ import annotations

import base64
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from iclight import Relighter, Settings
from iclight.errors import ImageError
from iclight.imaging.images import ImageLike
from iclight.recipes import png_bytes, recipe_of
from iclight.request import decode_inputs
from iclight.settings import INPUTS, workflow_for


class EndpointHandler:
    """Relights what it is sent. A model for each workflow is loaded with its first request, fc's at once."""

    def __init__(self, path: str = "") -> None:
        """`path`: the repository on this machine; a model in diffusers' layout there is used, else the usual one."""
        self._model = path if path and (Path(path) / "model_index.json").is_file() else "auto"
        self._loaded: dict[str, Relighter] = {}
        self._lock = threading.Lock()
        self._relighter("fc")

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """`data["inputs"]`: the picture as base64, bytes or a Pillow picture. `data["parameters"]`: settings by name,
        `workflow`, `matting`, and the other inputs (`background`, `mask`, ...) in the same forms.

        Returns "images" (base64 of PNGs with their recipes), "seed", "model" and "seconds". Raises IclightError.
        """
        values = dict(data.get("parameters") or {})
        given: dict[str, Any] = {name: _decoded(name, values.pop(name, None)) for name in INPUTS}
        given["image"] = _decoded("image", data.get("inputs")) if given["image"] is None else given["image"]
        if given["image"] is None:
            raise ImageError("Send the picture to light as `inputs`, in base64.")
        there = [name for name, source in given.items() if source is not None]
        workflow = workflow_for(values.pop("workflow", None), values.get("light"), there)
        matting = values.pop("matting", None)
        if "light_map" in there:
            values.setdefault("light", "upload")
        relighter = self._relighter(workflow)
        settings = Settings.for_workflow(workflow, **{**relighter.defaults, **values})
        inputs = decode_inputs(given)
        result = relighter.relight(settings=settings, matting=matting, **inputs)
        recipe = recipe_of(result, inputs)
        files = [
            png_bytes(one, replace(recipe, index=index), icc=result.icc) for index, one in enumerate(result.images)
        ]
        return {
            "images": [base64.b64encode(file).decode("ascii") for file in files],
            "seed": result.settings.seed,
            "model": result.model["name"],
            "seconds": round(result.seconds, 3),
        }

    def _relighter(self, workflow: str) -> Relighter:
        with self._lock:
            if workflow not in self._loaded:
                share = next(iter(self._loaded.values()), None)
                self._loaded[workflow] = Relighter.load(self._model, workflow, share=share)
            return self._loaded[workflow]


def _decoded(name: str, source: Any) -> ImageLike | None:
    """A picture as it was sent; base64, or a data URL, as bytes. A text is never a path of this machine."""
    if not isinstance(source, str):
        return source
    try:
        return base64.b64decode(source.partition(",")[2] if source.startswith("data:") else source, validate=True)
    except ValueError as error:
        raise ImageError("The {input} is no base64.", input=INPUTS[name]) from error
