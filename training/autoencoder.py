"""Train the small autoencoder: pixels <-> latents of 4 channels at half the side.

    torchrun --nproc-per-node 2 -m training.autoencoder --steps 800 --side 64

It starts as a linear map (`init_linear`), so minutes are enough.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL
from torch import Tensor, nn
from tqdm.auto import tqdm

from .checkpoints import EMA, PRECISIONS, Run, precision, set_lr, warmup_stable_decay
from .metrics import psnr_inside
from .randomness import choose, generator, uniform
from .scenes import photographs
from .scenes.photographs import GREY, as_tensor

GROUPS = 8
# Few channels where pixels are many; most of the work is done at the latents' own size, where it is cheap.
CHANNELS = (32, 48)
# A constant pair beside each signal keeps group norm from rescaling it: see `init_linear`.
ANCHOR = 4.0


def build_autoencoder() -> AutoencoderKL:
    """The autoencoder of mini: factor 2, 4 latent channels, 0.4 M parameters, untrained but already linear."""
    blocks = len(CHANNELS)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=GROUPS,
        sample_size=256,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    init_linear(vae)
    return vae


@torch.no_grad()
def init_linear(vae: AutoencoderKL) -> None:
    """Make an untrained autoencoder average 2 x 2 pixels, and smooth them out again.

    The fourth latent starts as the luminance's slope across the block, which is what explains most of a photograph
    after its mean colours. Each signal c travels as the pair (+c, -c) in a group of its own, since
    silu(x) - silu(-x) = x. The same group holds the constants +-ANCHOR, much larger than c: they pin the group's
    deviation, so that group norm, too, is linear. Residual branches begin at zero.
    """
    box = torch.zeros(3, 3)
    box[:2, :2] = 0.25
    tent = torch.tensor([1.0, 2.0, 1.0])
    tent = tent[:, None] * tent[None, :] / 16
    gain = 1.8

    def slots(channels: int) -> list[list[int]]:
        size = channels // GROUPS
        return [[colour * size + k for k in range(4)] for colour in range(4)]

    def carry(conv: Any, kernel: Tensor) -> None:
        for sources, targets in zip(slots(conv.in_channels), slots(conv.out_channels), strict=True):
            for source, target in zip(sources, targets, strict=True):
                conv.weight[target] = 0
                conv.weight[target, source] = kernel
                conv.bias[target] = 0

    def enter(conv: Any, scale: float) -> None:
        for colour, (plus, minus, high, low) in enumerate(slots(conv.out_channels)):
            conv.weight[[plus, minus, high, low]] = 0
            conv.bias[[plus, minus]] = 0
            if colour < conv.in_channels:
                conv.weight[plus, colour, 1, 1] = scale
            else:  # the slope of the luminance
                conv.weight[plus, :, 1, 2], conv.weight[plus, :, 1, 0] = scale, -scale
            conv.weight[minus] = -conv.weight[plus]
            conv.bias[high], conv.bias[low] = ANCHOR, -ANCHOR

    def leave(conv: Any, scale: float) -> None:
        size = conv.in_channels // GROUPS
        deviation = ((2 * ANCHOR**2 + max(0, size - 4) * 0.3) / size) ** 0.5
        for colour, (plus, minus, _, _) in enumerate(slots(conv.in_channels)):
            if colour >= conv.out_channels:
                continue
            conv.weight[colour] = 0
            conv.bias[colour] = 0
            conv.weight[colour, plus, 1, 1] = deviation * scale
            conv.weight[colour, minus, 1, 1] = -deviation * scale

    for module in vae.modules():
        if type(module).__name__ == "ResnetBlock2D":
            module.conv2.weight.zero_()
            module.conv2.bias.zero_()
            if module.conv_shortcut is not None:
                carry(module.conv_shortcut, torch.ones(1, 1))
    encoder, decoder = vae.encoder, vae.decoder
    enter(encoder.conv_in, 1.0)
    for block in encoder.down_blocks:
        for sampler in block.downsamplers or ():
            carry(sampler.conv, box)
    leave(encoder.conv_out, gain)
    encoder.conv_out.weight[4:] *= 0.1
    encoder.conv_out.bias[4:] = -6.0  # log-variance: hardly any noise
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.copy_(torch.eye(conv.out_channels)[:, :, None, None])
        conv.bias.zero_()
    enter(decoder.conv_in, 1 / gain)
    for block in decoder.up_blocks:
        for sampler in block.upsamplers or ():
            carry(sampler.conv, tent)
    leave(decoder.conv_out, 1.0)


@torch.no_grad()
def whiten(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold latents' mean and deviation over `pictures` (Bx3xHxW in [-1, 1]) into the two 1x1 convolutions."""
    latents = vae.encode(pictures).latent_dist.mean
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    inward, outward = vae.quant_conv, vae.post_quant_conv
    inward.weight[:4] /= deviation[:, None, None, None]
    inward.bias[:4] = (inward.bias[:4] - mean) / deviation
    inward.bias[4:] -= 2 * deviation.log()
    outward.bias += outward.weight[:, :, 0, 0] @ mean
    outward.weight *= deviation[None, :, None, None]


class Crops:
    """Random crops of photographs and panoramas, sometimes cut out on grey, sometimes shaded by a ramp."""

    def __init__(self, side: int = 96) -> None:
        self.side = side
        self.pictures = [as_tensor(pixels) for pixels in photographs.photographs().values()]
        # Four latents hold a photograph only where they know how colours go with brightness: grey ones do not tell.
        self.pictures += 2 * [picture for picture in self.pictures if float(picture.std(0).mean()) > 0.02]
        # Subjects as the engine cuts them out, on grey.
        self.cut_outs = []
        for cut in map(as_tensor, photographs.cut_outs().values()):
            self.cut_outs.append(GREY + (cut[:3] - GREY) * cut[3:])
        # Panoramas are small and soft: they show colours, but say little about detail.
        self.soft = []
        for radiance in photographs.panoramas().values():
            light = torch.from_numpy(radiance).permute(2, 0, 1)
            self.soft.append((light / light.mean() * 0.35).clamp(0, 1) ** (1 / 2.2))

    def batch(self, count: int, random: torch.Generator) -> Tensor:
        """count x 3 x side x side in [-1, 1]."""
        return torch.stack([self._varied(random) for _ in range(count)]) * 2 - 1

    def _varied(self, random: torch.Generator) -> Tensor:
        """Few photographs are soon known by heart: turned, mirrored, and now and then shining through one another."""
        crop = self._one(random)
        if uniform(0, 1, random) < 0.1:
            crop = torch.lerp(crop, self._one(random), uniform(0.2, 0.8, random))
        if uniform(0, 1, random) < 0.3:
            crop = crop.flip(-2)
        return crop.transpose(-1, -2) if uniform(0, 1, random) < 0.4 else crop

    def _one(self, random: torch.Generator) -> Tensor:
        kind = uniform(0, 1, random)
        few = self.soft if kind < 0.1 else self.cut_outs if kind < 0.2 else self.pictures
        picture = choose(few or self.pictures, random)
        crop = self._cut(picture, 2 ** uniform(-0.4, 1.2, random), random)
        kind = uniform(0, 1, random)
        if uniform(0, 1, random) < 0.5:
            crop = crop.flip(-1)
        if uniform(0, 1, random) < 0.1:
            crop = crop[torch.randperm(3, generator=random)]
        if kind < 0.1:
            blob = F.interpolate(torch.randn(1, 1, 4, 4, generator=random), (self.side,) * 2, mode="bicubic")[0]
            matte = (blob * uniform(4, 40, random)).sigmoid()
            crop = crop * matte + GREY * (1 - matte)
        elif kind < 0.2:
            along = torch.linspace(-1, 1, self.side)
            ramp = uniform(-1, 1, random) * along[None, :] + uniform(-1, 1, random) * along[:, None]
            tint = 1 + uniform(-0.3, 0.3, random) * torch.randn(3, 1, 1, generator=random)
            flat = uniform(0, 1, random) < 0.3
            crop = ((uniform(0, 1, random) if flat else crop) * tint * (1.2 * ramp).exp()).clamp(0, 1)
        elif kind < 0.35:
            crop = crop ** (2 ** uniform(-1, 1, random))
        return crop.expand(3, -1, -1)

    def _cut(self, picture: Tensor, scale: float, random: torch.Generator) -> Tensor:
        """A square of `scale` times the side, shrunk or enlarged to it."""
        height, width = picture.shape[1:]
        size = min(height, width, int(self.side * scale))
        y = int(torch.randint(height - size + 1, (1,), generator=random))
        x = int(torch.randint(width - size + 1, (1,), generator=random))
        crop = picture[:, y : y + size, x : x + size]
        return F.interpolate(crop[None], (self.side, self.side), mode="bilinear", antialias=True)[0].clamp(0, 1)


@torch.no_grad()
def evaluate(through: Callable[[Tensor], Tensor], largest: int = 512) -> dict[str, float]:
    """PSNR in dB of the held-out photographs, longer side `largest`, through 8-bit pixels.

    `through`: Nx3xHxW pixels about [-1, 1] -> the same encoded and decoded.
    """
    figures = {}
    for name, pixels in photographs.held_out().items():
        picture = as_tensor(pixels)[None]
        scale = largest / max(picture.shape[2:])
        size = [round(side * scale) // 8 * 8 for side in picture.shape[2:]]
        picture = F.interpolate(picture, size, mode="bilinear", antialias=True).clamp(0, 1)
        decoded = (through(picture * 2 - 1) / 2 + 0.5).clamp(0, 1).mul(255).round() / 255
        figures[name] = float(psnr_inside(decoded, picture, torch.ones_like(picture[:, :1])))
    return figures


def train(options: argparse.Namespace) -> None:
    """The loop: absolute and squared error, and those of 4 x 4 means, which carry the light."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=precision(options.mixed_precision))
    torch.manual_seed(options.seed)
    vae = build_autoencoder().to(memory_format=torch.channels_last)

    def through(pixels: Tensor) -> Tensor:
        return vae(pixels).sample

    parameters = list(vae.parameters())
    ema = EMA(parameters, options.ema_decay)
    optimiser = torch.optim.AdamW(parameters, lr=options.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    model, optimiser = accelerator.prepare(_Through(vae), optimiser)
    accelerator.register_for_checkpointing(ema)
    run = Run(options.out, accelerator)
    crops = Crops(options.side)
    first = run.resume()
    total = 0.0
    for step in tqdm(range(first, options.steps), disable=not accelerator.is_local_main_process, mininterval=10):
        set_lr(optimiser, warmup_stable_decay(step, options.steps, options.learning_rate))
        pictures = crops.batch(options.batch, generator(options.seed, step, accelerator.process_index))
        pictures = pictures.to(accelerator.device).contiguous(memory_format=torch.channels_last)
        decoded, divergence = model(pictures)
        error = decoded.float() - pictures
        loss = error.abs().mean() + 12 * error.square().mean() + 0.3 * F.avg_pool2d(error, 4).abs().mean()
        accelerator.backward(loss + 1e-5 * divergence)
        accelerator.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        ema.update()
        total += float(error.detach().square().mean())
        if (step + 1) % options.log_every == 0:
            ema.swap()
            run.log(
                step + 1,
                squared=total / options.log_every,
                **(evaluate(through) if accelerator.is_main_process else {}),
            )
            ema.swap()
            total = 0.0
        if (step + 1) % options.save_every == 0:
            run.save(step + 1)
    ema.swap()
    if accelerator.is_main_process:
        whiten(vae, torch.cat([crops.batch(64, generator(options.seed, -1 - k)) for k in range(4)]))
        vae.save_pretrained(options.out / "final")
        print({name: round(value, 2) for name, value in evaluate(through).items()})


class _Through(nn.Module):
    """Encode, sample, decode in one forward, so that several processes can share the work."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.vae.encode(pictures).latent_dist
        return self.vae.decode(latents.sample()).sample, latents.kl().mean() / latents.mean[0].numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/autoencoder"))
    parser.add_argument("--ema-decay", type=float, default=0.998)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=8, help="crops of each process")
    parser.add_argument("--side", type=int, default=96, help="pixels of a crop's side")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--mixed-precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--log-every", type=int, default=250)
    parser.add_argument("--save-every", type=int, default=500)
    options = parser.parse_args()
    train(options)


if __name__ == "__main__":
    main()
