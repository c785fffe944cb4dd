"""This engine's side: its own parts for the stages, its own `Relighter` for the whole."""

from __future__ import annotations

from pathlib import Path

import torch

from iclight import prompts
from iclight.diffusion import sampler, vae
from iclight.diffusion.vae import VAE
from iclight.imaging import crop
from iclight.loading import LoadedModel
from iclight.relighter import Relighter
from iclight.weights.resolve import Model

from .job import Job
from .measure import Outputs
from .models import Networks, engines_own


class Ours:
    """The stages as `Relighter.render` runs them."""

    def __init__(self, networks: Networks, job: Job) -> None:
        self.job = job
        self.networks = networks = engines_own(networks)
        self.vae = VAE(networks.vae, job.placement)
        nowhere = Path()
        described = Model(
            name="random",
            base=nowhere,
            config=nowhere,
            offset=nowhere,
            workflow=job.settings.workflow,
            native_size=job.small,
            license="",
            about="",
        )
        loaded = LoadedModel(
            networks.tokenizer, networks.text_encoder, self.vae, networks.unet, job.placement, described
        )
        self.relighter = Relighter(loaded, "none")

    def prompt(self) -> Outputs:
        settings = self.job.settings
        return prompts.encode_prompt_pair(
            self.networks.tokenizer, self.networks.text_encoder, settings.positive_prompt, settings.negative_prompt
        )

    def condition(self) -> Outputs:
        sizes = (self.job.small, self.job.large)
        return [self.vae.encode(self.job.cropped(size)).flatten(0, 1)[None] for size in sizes]

    def low(self) -> Outputs:
        strength = None if self.job.start is None else self.job.settings.lowres_denoise
        return [self._denoise(self.job.low_condition, strength, self.job.start, self.job.low_latents.shape)]

    def enlarge(self) -> Outputs:
        decoded = vae.to_pixels(self.vae.decode(self.job.low_latents))
        return [self.vae.encode([crop.resize(picture, *self.job.large) for picture in decoded])]

    def high(self) -> Outputs:
        start = self.job.high_latents
        return [self._denoise(self.job.high_condition, self.job.settings.highres_denoise, start, start.shape)]

    def decode(self) -> Outputs:
        return [torch.from_numpy(picture) for picture in vae.to_pixels(self.vae.decode(self.job.high_latents))]

    def whole(self) -> Outputs:
        rendering = self.relighter.passes.render(self.job.foreground, self.job.settings, self.job.background)
        vae.to_pixels(rendering.decoded)
        return [rendering.latents["highres"]]

    def _denoise(
        self, condition: torch.Tensor, strength: float | None, start: torch.Tensor | None, shape: torch.Size
    ) -> torch.Tensor:
        guidance = sampler.Guidance(self.job.cond, self.job.uncond, self.job.settings.cfg)
        predict = sampler.NoisePredictor(self.networks.unet, guidance, condition)
        steps = self.job.settings.steps
        return sampler.denoise(predict, steps, strength, start, tuple(shape), self.job.generator())
