"""What is asked of both sides: one request, and the tensors that each stage starts from.

Every stage has inputs of its own, drawn once, so that stages can be measured alone and in any order, and so that a
difference in one of them does not show up in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from iclight.diffusion.devices import Placement
from iclight.diffusion.unet import INPUT_CHANNELS, LATENT_CHANNELS
from iclight.imaging import crop
from iclight.imaging import light_maps as lights
from iclight.settings import Settings

from .models import SEED, Networks

Picture = NDArray[np.uint8]


STAGES = {
    "prompt": "prompt encoding",
    "condition": "encode conditions",
    "low": "low pass",
    "enlarge": "decode, enlarge, encode",
    "high": "high pass",
    "decode": "decode",
    "whole": "whole request",
}


@dataclass(frozen=True)
class Job:
    """A complete request. Latents are scaled; `start` is the light's ramp as a latent, None for text-to-image."""

    settings: Settings
    placement: Placement
    foreground: Picture
    background: Picture | None
    cond: torch.Tensor
    uncond: torch.Tensor
    low_condition: torch.Tensor
    high_condition: torch.Tensor
    start: torch.Tensor | None
    low_latents: torch.Tensor
    high_latents: torch.Tensor

    @property
    def small(self) -> tuple[int, int]:
        """(width, height) of the first pass."""
        return self.settings.width or 0, self.settings.height or 0

    @property
    def large(self) -> tuple[int, int]:
        return crop.highres_size(*self.small, self.settings.highres_scale)

    @property
    def ramp(self) -> Picture | None:
        """The fc workflow's initial picture, if a light asks for one."""
        if self.settings.workflow == "fbc":
            return None
        return lights.light_map(self.settings.light, "fc", *self.small)

    @property
    def backdrop(self) -> Picture | None:
        """The fbc workflow's background, whether handed in or made from a light."""
        if self.settings.workflow == "fc":
            return None
        made = lights.light_map(self.settings.light, "fbc", *self.small)
        return self.background if made is None else made

    def generator(self) -> torch.Generator:
        return torch.Generator(self.placement.noise_device).manual_seed(self.settings.seed or 0)

    def cropped(self, size: tuple[int, int]) -> Sequence[Picture]:
        """The pictures that become conditions, at one pass's size."""
        shown = [picture for picture in (self.foreground, self.backdrop) if picture is not None]
        return [crop.resize_and_center_crop(picture, *size) for picture in shown]


def make_job(settings: Settings, networks: Networks, placement: Placement) -> Job:
    """Draw a request's inputs; the same settings give the same ones on every machine."""
    generator = torch.Generator().manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    factor = 2 ** (len(networks.vae.config.block_out_channels) - 1)
    small = (settings.width or 0, settings.height or 0)
    large = crop.highres_size(*small, settings.highres_scale)
    is_fbc = settings.workflow == "fbc"
    extra = INPUT_CHANNELS[settings.workflow] - LATENT_CHANNELS

    def latents(count: int, channels: int, size: tuple[int, int]) -> torch.Tensor:
        shape = (count, channels, size[1] // factor, size[0] // factor)
        return torch.randn(shape, generator=generator).to(placement.device)

    def text() -> torch.Tensor:
        dim = networks.text_encoder.config.hidden_size
        return torch.randn(1, 77, dim, generator=generator).to(placement.device, placement.dtype)

    return Job(
        settings=settings,
        placement=placement,
        foreground=_picture(rng, *small),
        background=_picture(rng, *small) if is_fbc and settings.light.startswith("upload") else None,
        cond=text(),
        uncond=text(),
        low_condition=latents(1, extra, small),
        high_condition=latents(1, extra, large),
        start=latents(1, LATENT_CHANNELS, small) if not is_fbc and settings.light != "none" else None,
        low_latents=latents(settings.num_images, LATENT_CHANNELS, small),
        high_latents=latents(settings.num_images, LATENT_CHANNELS, large),
    )


def _picture(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Soft random colours: on flat pictures group norm would magnify rounding into a difference."""
    return crop.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), width * 5 // 4, height * 5 // 4)
