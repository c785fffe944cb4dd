"""The library's side: its StableDiffusion pipelines, with the conditions smuggled in as the reference does it.

The pipelines know nothing of extra channels. The reference hands the conditions through `cross_attention_kwargs` and
replaces the UNet's `forward` by one that takes them out there and concatenates them. That is done here too, on a UNet
of this side's own (it shares its weights with the other side's), because it is what is being compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from iclight.imaging import crop

from .job import Job, Picture
from .measure import Outputs
from .models import Networks


class Stock:
    """The stages as the reference's page runs them."""

    def __init__(self, networks: Networks, job: Job) -> None:
        self.networks = networks
        self.job = job
        self.vae = networks.vae
        self.unet = hooked_unet(networks.unet)
        shared: dict[str, Any] = {
            "vae": networks.vae,
            "text_encoder": networks.text_encoder,
            "tokenizer": networks.tokenizer,
            "unet": self.unet,
            "scheduler": scheduler(),
            "safety_checker": None,
            "requires_safety_checker": False,
            "feature_extractor": None,
            "image_encoder": None,
        }
        self.text_to_image = _silent(StableDiffusionPipeline(**shared))
        self.image_to_image = _silent(StableDiffusionImg2ImgPipeline(**shared))

    # --- the stages ---------------------------------------------------------------------------------------------

    def prompt(self) -> Outputs:
        settings = self.job.settings
        cond, uncond = self._chunks(settings.positive_prompt), self._chunks(settings.negative_prompt)
        count = max(len(cond), len(uncond))
        return [self._joined(cond, count), self._joined(uncond, count)]

    def condition(self) -> Outputs:
        return [self._condition(size) for size in (self.job.small, self.job.large)]

    def low(self) -> Outputs:
        return [self._low(self.job.cond, self.job.uncond, self.job.low_condition, self.job.start, self.job.generator())]

    def enlarge(self) -> Outputs:
        return [self._enlarge(self.job.low_latents)]

    def high(self) -> Outputs:
        job = self.job
        return [self._high(job.cond, job.uncond, job.high_condition, job.high_latents, job.generator())]

    def decode(self) -> Outputs:
        return [torch.from_numpy(picture) for picture in self._decode(self.job.high_latents)]

    def whole(self) -> Outputs:
        generator = self.job.generator()
        condition = self._condition(self.job.small)
        cond, uncond = self.prompt()
        ramp = self.job.ramp
        start = None if ramp is None else self._encode([ramp])
        low = self._low(cond, uncond, condition, start, generator)
        latents = self._enlarge(low)
        high = self._high(cond, uncond, self._condition(self.job.large), latents, generator)
        self._decode(high)
        return [high]

    # --- the pipelines ------------------------------------------------------------------------------------------

    def _low(
        self,
        cond: torch.Tensor,
        uncond: torch.Tensor,
        condition: torch.Tensor,
        start: torch.Tensor | None,
        generator: torch.Generator,
    ) -> torch.Tensor:
        settings = self.job.settings
        options = self._options(cond, uncond, condition, generator)
        if start is None:
            width, height = self.job.small
            options |= {"width": width, "height": height, "num_inference_steps": settings.steps}
            return self.text_to_image(**options).images
        strength = settings.lowres_denoise
        options |= {"strength": strength, "num_inference_steps": round(settings.steps / strength)}
        return self.image_to_image(image=start, **options).images

    def _high(
        self,
        cond: torch.Tensor,
        uncond: torch.Tensor,
        condition: torch.Tensor,
        start: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        strength = self.job.settings.highres_denoise
        options = self._options(cond, uncond, condition, generator)
        options |= {"strength": strength, "num_inference_steps": round(self.job.settings.steps / strength)}
        # One start per sample: the pipeline would multiply them by num_images_per_prompt only if there were fewer.
        return self.image_to_image(image=start.to(self.unet.dtype), **options).images

    def _options(
        self, cond: torch.Tensor, uncond: torch.Tensor, condition: torch.Tensor, generator: torch.Generator
    ) -> dict[str, Any]:
        return {
            "prompt_embeds": cond,
            "negative_prompt_embeds": uncond,
            "num_images_per_prompt": self.job.settings.num_images,
            "generator": generator,
            "output_type": "latent",
            "guidance_scale": self.job.settings.cfg,
            "cross_attention_kwargs": {"concat_conds": condition},
        }

    # --- text and pictures --------------------------------------------------------------------------------------

    def _chunks(self, text: str) -> torch.Tensor:
        tokenizer = self.networks.tokenizer
        length, end = tokenizer.model_max_length, tokenizer.eos_token_id
        ids = tokenizer(text, truncation=False, add_special_tokens=False)["input_ids"]
        pieces = [ids[i : i + length - 2] for i in range(0, len(ids), length - 2)]
        padded = [([tokenizer.bos_token_id, *piece, end] + [end] * length)[:length] for piece in pieces]
        encoder = self.networks.text_encoder
        return encoder(torch.tensor(padded, dtype=torch.int64, device=encoder.device)).last_hidden_state

    @staticmethod
    def _joined(chunks: torch.Tensor, count: int) -> torch.Tensor:
        repeated = torch.cat([chunks] * -(-count // len(chunks)))[:count]
        return torch.cat([chunk[None] for chunk in repeated], dim=1)

    def _encode(self, pictures: list[Picture]) -> torch.Tensor:
        stacked = torch.from_numpy(np.stack(pictures)).float() / 127.0 - 1.0
        pixels = stacked.movedim(-1, 1).to(self.vae.device, self.vae.dtype)
        return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor

    def _condition(self, size: tuple[int, int]) -> torch.Tensor:
        latents = self._encode(list(self.job.cropped(size)))
        return torch.cat([latent[None] for latent in latents], dim=1)

    def _decode(self, latents: torch.Tensor) -> list[Picture]:
        """All pictures at once, as the reference does."""
        decoded = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample
        values = decoded.movedim(1, -1) * 127.5 + 127.5
        return list(values.detach().float().cpu().numpy().clip(0, 255).astype(np.uint8))

    def _enlarge(self, latents: torch.Tensor) -> torch.Tensor:
        return self._encode([crop.resize(picture, *self.job.large) for picture in self._decode(latents)])


def _silent(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def scheduler() -> DPMSolverMultistepScheduler:
    """As the reference sets it up."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        algorithm_type="sde-dpmsolver++",
        use_karras_sigmas=True,
        steps_offset=1,
    )


def hooked_unet(widened: Any) -> Any:
    """A UNet with the weights of `widened`, not copied, that says it takes four channels and finds the rest itself.

    The pipelines draw as many channels of noise as the config says, so it must keep saying four.
    """
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config({**widened.config, "in_channels": 4})
        first = unet.conv_in
        unet.conv_in = torch.nn.Conv2d(
            widened.conv_in.in_channels, first.out_channels, first.kernel_size, first.stride, first.padding
        )
    unet.load_state_dict(widened.state_dict(), assign=True)
    unet.requires_grad_(False).eval()
    original = unet.forward

    def forward(
        sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor, **kwargs: Any
    ) -> Any:
        conditions = kwargs["cross_attention_kwargs"]["concat_conds"].to(sample)
        conditions = torch.cat([conditions] * (sample.shape[0] // conditions.shape[0]), dim=0)
        kwargs["cross_attention_kwargs"] = {}
        return original(torch.cat([sample, conditions], dim=1), timestep, encoder_hidden_states, **kwargs)

    unet.forward = forward
    return unet
