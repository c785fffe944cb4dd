"""Turn the published U²-NetP of an ONNX file into the safetensors file that ships (models/matting/README.md).

    pip install onnx onnxruntime
    python tools/convert_u2netp.py u2netp.onnx models/matting/u2netp.safetensors --reference tests/data/u2netp.npz

`--reference` runs the ONNX file itself on the example photos, prepared as its authors do, for the tests to compare. In
the ONNX file the batch norms are folded into the convolutions and most of these have lost their names. Both sides list
their convolutions in the order in which they run, so each takes its weights from the other's of the same number.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from briarmbg import U2NetP
from iclight.studio.tabs.examples import asset

PHOTOS = ("astronaut.png", "cat.jpg", "coffee.jpg")


def convert(source: Path) -> dict[str, torch.Tensor]:
    """The network's weights by our names, float32. Raises ValueError where the file holds another network."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(source)).graph
    tensors = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    given = [node for node in graph.node if node.op_type == "Conv"]
    with torch.device("meta"):
        wanted = [(name, one) for name, one in U2NetP().named_modules() if isinstance(one, torch.nn.Conv2d)]
    if len(given) != len(wanted):
        raise ValueError(f"{source} has {len(given)} convolutions, a U²-NetP {len(wanted)}.")
    weights = {}
    for node, (name, layer) in zip(given, wanted, strict=True):
        dilation = next(tuple(one.ints) for one in node.attribute if one.name == "dilations")
        _, weight, bias = (tensors.get(one) for one in node.input)
        assert weight is not None and bias is not None
        if weight.shape != layer.weight.shape or dilation != layer.dilation:
            raise ValueError(f"{name} is {tuple(layer.weight.shape)}, in {source} {tuple(weight.shape)}.")
        weights[f"{name}.weight"], weights[f"{name}.bias"] = weight, bias
    return weights


def reference(source: Path) -> dict[str, Any]:
    """Photo -> what the ONNX file makes of it, every other pixel of every other row: 160x160, in 65535ths."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    outputs = {}
    for name in PHOTOS:
        with Image.open(asset(name), formats=("PNG", "JPEG")) as photo:
            pixels = np.asarray(photo.convert("RGB").resize((320, 320), Image.Resampling.LANCZOS)) / 1.0
        feed = (pixels / pixels.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        feed = feed.transpose(2, 0, 1)[None].astype(np.float32)
        saliency = session.run(None, {session.get_inputs()[0].name: feed})[0][0, 0]
        outputs[name] = (saliency[::2, ::2] * 65535).round().astype(np.uint16)
    return outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="ONNX")
    parser.add_argument("target", type=Path, metavar="SAFETENSORS")
    parser.add_argument("--reference", type=Path, metavar="NPZ")
    options = parser.parse_args()
    options.target.parent.mkdir(parents=True, exist_ok=True)
    save_file(convert(options.source), options.target, {"source": "xuebinqin/U-2-Net, u2netp"})
    if options.reference:
        np.savez_compressed(options.reference, **reference(options.source))


if __name__ == "__main__":
    main()
