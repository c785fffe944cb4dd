"""Train a narrow matting network on the light stage's scenes over photographs, and hold it against GrabCut.

    torchrun --nproc-per-node 2 -m iclight.training.matting build/stage256 --out build/matting
    python -m iclight.training.matting --measure build/matting/matting.safetensors

The same IS-Net as RMBG's at a quarter of its width. A third of the pictures are photographed subjects with their own
mattes (`photographs.cut_outs`) over other photographs; the rest are the scenes as rendered or their subjects over
photographs; some of these wear a photograph of their own. Losses: cross-entropy of all six mattes and
1 - IoU of the finest (Qin et al. 2022). Measured on real photographs whose outlines were drawn by hand.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from briarmbg import BriaRMBG

from ..grabcut import grabcut_matte
from ..matting import estimate_matte, load_matting_network
from . import photographs
from .run import PRECISIONS, Average, Run, choose, generator, plateau, precision, set_rate, uniform
from .surfaces import photo_crop
from .wild import placed

OUTLINES = Path(__file__).parent / "outlines.json"


class Scenes:
    """Rendered shards: pictures with their mattes, and photographs to put behind the subjects."""

    def __init__(self, folder: Path, side: int) -> None:
        shards = [torch.load(path, weights_only=False) for path in sorted(folder.glob("shard-*.pt"))]
        rendered = torch.cat([torch.tensor([f[0][0] != "photograph" for f in shard["facts"]]) for shard in shards])
        self.images = torch.cat([shard["images"] for shard in shards])[rendered]
        self.mattes = torch.cat([shard["matte"] for shard in shards])[rendered]
        self.side = side
        found = photographs.photographs()
        self.cut_outs = [
            torch.from_numpy(p.copy()).permute(2, 0, 1).float() / 255 for p in photographs.cut_outs().values()
        ]
        self.photos = [torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 for pixels in found.values()]

    def batch(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """count x 3 x side x side pictures in [0, 1] and count x 1 x side x side mattes."""
        pictures, mattes = zip(*(self._one(random) for _ in range(count)), strict=True)
        return torch.stack(pictures), torch.stack(mattes)

    def _one(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.cut_outs and uniform(0, 1, random) < 0.35:
            return self._developed(*self._photographed(random), random)
        item = int(torch.randint(len(self.images), (1,), generator=random))
        picture = self.images[item, choose([0, 3, 4], random)].float() / 255
        matte = self.mattes[item].float() / 255
        picture, matte = self._framed(picture, matte, random)
        kind = uniform(0, 1, random)
        if kind < 0.55:
            behind = photo_crop(self.photos, self.side, random, (-0.5, 2.0))
            if uniform(0, 1, random) < 0.35:
                behind = cv2_blur(behind, uniform(1, 8, random))
            if uniform(0, 1, random) < 0.3:  # a subject with a photograph's texture, shaded as rendered
                worn = photo_crop(self.photos, self.side, random, (-0.5, 2.0))
                grey = picture.mean(0, keepdim=True)
                inside = (grey * matte).sum() / matte.sum().clamp(min=1)
                picture = (worn * (grey / inside.clamp(min=0.05))).clamp(0, 1)
            picture = picture * matte + behind * (1 - matte)
        return self._developed(picture, matte, random)

    def _photographed(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """A cut-out, a little larger than the frame at most, over a photograph, sharp or out of focus."""
        subject, matte = placed(choose(self.cut_outs, random), self.side, random)
        behind = photo_crop(self.photos, self.side, random, (-0.5, 2.0))
        if uniform(0, 1, random) < 0.5:
            behind = cv2_blur(behind, uniform(1, 8, random))
        return subject * matte + behind * (1 - matte), matte

    @staticmethod
    def _developed(picture: Tensor, matte: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mirrored, exposed, tinted and grainy as photographs are."""
        if uniform(0, 1, random) < 0.5:
            picture, matte = picture.flip(-1), matte.flip(-1)
        picture = picture.clamp(0.001, 1) ** (2 ** uniform(-0.6, 0.6, random))
        picture = picture * torch.exp(0.12 * torch.randn(3, 1, 1, generator=random))
        if uniform(0, 1, random) < 0.4:
            picture = picture + uniform(0.005, 0.04, random) * torch.randn(picture.shape, generator=random)
        return picture.clamp(0, 1), matte

    def _framed(self, picture: Tensor, matte: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random crop around the subject, scaled to `side`: subjects fill photographs more than scenes do."""
        rows, columns = matte[0].amax(1).nonzero()[:, 0], matte[0].amax(0).nonzero()[:, 0]
        if len(rows) < 8 or len(columns) < 8:
            return self._scaled(picture), self._scaled(matte)
        full = matte.shape[-1]
        need = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0]))
        size = int(min(full, max(full // 3, need * uniform(0.75, 1.6, random))))
        middle_y, middle_x = int(rows[0] + rows[-1]) // 2, int(columns[0] + columns[-1]) // 2
        y = int(min(max(0, middle_y - size // 2 + uniform(-0.15, 0.15, random) * size), full - size))
        x = int(min(max(0, middle_x - size // 2 + uniform(-0.15, 0.15, random) * size), full - size))
        part = (slice(None), slice(y, y + size), slice(x, x + size))
        return self._scaled(picture[part]), self._scaled(matte[part])

    def _scaled(self, x: Tensor) -> Tensor:
        return F.interpolate(x[None], (self.side, self.side), mode="bilinear", antialias=True)[0].clamp(0, 1)


def cv2_blur(picture: Tensor, sigma: float) -> Tensor:
    blurred = cv2.GaussianBlur(picture.permute(1, 2, 0).numpy(), (0, 0), sigma)
    return torch.from_numpy(blurred).permute(2, 0, 1)


def loss_of(mattes: list[Tensor], truth: Tensor) -> Tensor:
    """Cross-entropy of every level's matte, and 1 - IoU of the finest."""
    crossed = sum(F.binary_cross_entropy(matte.float().clamp(1e-5, 1 - 1e-5), truth) for matte in mattes)
    finest = mattes[0].float()
    both = (finest * truth).sum((1, 2, 3))
    either = (finest + truth - finest * truth).sum((1, 2, 3)).clamp(min=1)
    return crossed + (1 - both / either).mean()  # type: ignore[no-any-return]


def train(options: argparse.Namespace) -> None:
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=precision(options.mixed_precision))
    torch.manual_seed(options.seed)
    network: Any = BriaRMBG(width=options.width)
    network.to(memory_format=torch.channels_last)
    average = Average(network.parameters(), 0.995)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-3)
    model, optimiser = accelerator.prepare(network, optimiser)
    accelerator.register_for_checkpointing(average)
    run = Run(options.out, accelerator)
    scenes = Scenes(options.shards, options.side)
    first, total = run.resume()["step"], 0.0
    steps = range(first, options.steps)
    for step in tqdm(
        steps, initial=first, total=options.steps, disable=not accelerator.is_main_process, mininterval=10
    ):
        set_rate(optimiser, plateau(step, options.steps, options.rate, 100, 0.4))
        pictures, truth = scenes.batch(options.batch, generator(options.seed, step, accelerator.process_index))
        feed = (pictures * 255 / 127 - 1).contiguous(memory_format=torch.channels_last).to(accelerator.device)
        with accelerator.autocast():
            mattes, _ = model(feed)
        with torch.autocast(accelerator.device.type, enabled=False):
            loss = loss_of(mattes, truth.to(accelerator.device))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update()
        total += float(loss.detach())
        if (step + 1) % options.log_every == 0:
            run.log(step + 1, loss=total / options.log_every)
            total = 0.0
        if (step + 1) % options.save_every == 0:
            run.save(step + 1)
    average.swap()
    if accelerator.is_main_process:
        half = {name: value.half().contiguous() for name, value in network.state_dict().items()}
        save_file(half, str(options.out / "matting.safetensors"))
        print(measure(options.out / "matting.safetensors"))


def real_mattes() -> dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """The held-out photographs with outlines drawn by hand: name -> HxWx3 uint8, HxW booleans."""
    outlines: dict[str, list[dict[str, Any]]] = json.loads(OUTLINES.read_text())
    found = {}
    for name, pixels in photographs.held_out().items():
        matte = np.zeros(pixels.shape[:2], np.uint8)
        for shape in outlines[name]:
            if "polygon" in shape:
                cv2.fillPoly(matte, [np.array(shape["polygon"])], 255)
            else:
                x, y, across, down = shape["ellipse"]
                cv2.ellipse(matte, (x, y), (across, down), 0, 0, 360, 255, -1)
        found[name] = (pixels, matte > 127)
    return found


def agreement(matte: NDArray[np.float32], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Intersection over union at a half, and mean absolute error."""
    taken = matte[..., 0] > 0.5
    union = float((taken | truth).sum())
    return {"IoU": float((taken & truth).sum()) / max(1.0, union), "error": float(np.abs(matte[..., 0] - truth).mean())}


def measure(path: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    """Agreement with the hand-drawn outlines, of GrabCut and of a network, photograph by photograph."""
    ways: dict[str, Any] = {"grabcut": grabcut_matte}
    if path is not None:
        network = load_matting_network(path)
        ways["network"] = lambda pixels: estimate_matte(network, pixels)
    return {
        way: {name: agreement(estimate(pixels), truth) for name, (pixels, truth) in real_mattes().items()}
        for way, estimate in ways.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shards", type=Path, nargs="?", default=Path("build/stage256"))
    parser.add_argument("--measure", nargs="?", const="", metavar="FILE", help="only measure GrabCut, and this file")
    parser.add_argument("--out", type=Path, default=Path("build/matting"))
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4, help="pictures of each process")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--mixed-precision", choices=PRECISIONS, default="auto")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if options.measure is not None:
        print(json.dumps(measure(Path(options.measure) if options.measure else None), indent=1))
        return
    train(options)


if __name__ == "__main__":
    main()
