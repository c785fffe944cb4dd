"""A model's three workflows over many objects at once: the engine's own parts and sampler, first pass only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from iclight.diffusion import sampler
from iclight.imaging import environment as environments
from iclight.imaging import light_maps as lights
from iclight.prompts import encode_prompt_pair
from iclight.relighter import Relighter
from iclight.settings import Settings

BATCH = 16
PROMPT = "best quality"


class Bench:
    """One model, loaded one workflow at a time: one UNet in memory is enough."""

    def __init__(self, model: str, device: str = "auto", dtype: str = "auto") -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self._loaded: dict[str, Relighter] = {}

    def relighter(self, workflow: str) -> Relighter:
        if workflow not in self._loaded:
            self._loaded.clear()
            self._loaded[workflow] = Relighter.load(
                self.model, workflow, matting="none", device=self.device, dtype=self.dtype
            )
        return self._loaded[workflow]

    @torch.inference_mode()
    def relight(
        self,
        workflow: str,
        foreground: Tensor,
        background: Tensor | None = None,
        light: str | None = None,
        around: Tensor | None = None,
        seed: int = 1,
        steps: int | None = None,
        on_step: sampler.StepCallback | None = None,
    ) -> Tensor:
        """Bx3xHxW relit pictures in [0, 1].

        `foreground`: Bx3xHxW in [0, 1], on grey.
        `background`: Bx3xHxW, fbc's; `around`: Bx3x32x32 radiance, env's.
        `light`: a name in their place: a light map in fc and fbc, a preset in env.
        `seed`: of the first BATCH rows; the next ones count on.
        `steps`: of the sampler, by default the workflow's own; `on_step`: as of `sampler.denoise`.
        """
        relighter, start = self.relighter(workflow), None
        settings = Settings.for_workflow(workflow, prompt=PROMPT)
        count, _, height, width = foreground.shape
        if light is not None and workflow == "env":
            around = torch.from_numpy(environments.preset(light).transpose(2, 0, 1).copy()).expand(count, -1, -1, -1)
        elif light is not None:
            light_map = lights.light_map(light, workflow, width, height)
            assert light_map is not None
            if workflow == "fbc":
                background = torch.from_numpy(light_map).permute(2, 0, 1).expand(count, -1, -1, -1) / 255
            else:
                start = relighter.vae.encode([light_map])
        cond, uncond = encode_prompt_pair(
            relighter.tokenizer, relighter.text_encoder, settings.positive_prompt, settings.negative_prompt
        )
        relit = []
        for first in range(0, count, BATCH):
            part = slice(first, first + BATCH)
            condition = self._encode(relighter, foreground[part])
            if background is not None:
                condition = torch.cat([condition, self._encode(relighter, background[part])], 1)
            texts = [cond, uncond]
            if around is not None:
                tokens = relighter.environment_encoder(around[part].to(relighter.placement.device))  # type: ignore[misc]
                texts = [torch.cat([x.expand(len(tokens), -1, -1), tokens.to(x.dtype)], 1) for x in texts]
            guidance = sampler.Guidance(texts[0], texts[1], settings.cfg)
            predict = sampler.NoisePredictor(relighter.unet, guidance, condition, relighter.prediction_type)
            shape = (len(condition), 4, *condition.shape[2:])
            strength = None if start is None else settings.lowres_denoise
            random = torch.Generator(relighter.placement.noise_device).manual_seed(seed + first)
            latents = sampler.denoise(predict, steps or settings.steps, strength, start, shape, random, on_step)
            relit.append(self._decode(relighter, latents))
        return torch.cat(relit)

    @torch.inference_mode()
    def reconstruct(self, pictures: Tensor) -> Tensor:
        """Bx3xHxW in [0, 1] through the autoencoder."""
        relighter = self.relighter("fbc")
        return self._decode(relighter, self._encode(relighter, pictures))

    @staticmethod
    def _encode(relighter: Relighter, pictures: Tensor) -> Tensor:
        pixels = (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        return relighter.vae.encode(list(np.ascontiguousarray(pixels)))

    @staticmethod
    def _decode(relighter: Relighter, latents: Tensor) -> Tensor:
        return (relighter.vae.decode(latents).float().cpu() / 2 + 0.5).clamp(0, 1)
