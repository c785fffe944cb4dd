"""The denoising loop: one for text-to-image and image-to-image.

Reads top-down: make_scheduler -> plan -> start -> denoise. The conditions (foreground, background) are concatenated
to the latents where the UNet is called.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import ModelError
from ..networks.unet import UNet
from ..parameters import PARAMETERS
from .devices import is_out_of_memory, release_memory
from .solver import BETAS, TRAIN_STEPS, DPMSolver, Generators, draw_noise

StepCallback = Callable[[int, int, torch.Tensor], None]


DEFAULT_SAMPLER: str = PARAMETERS["sampler"].default
# Our own solver's choices, and diffusers' schedulers with their options, by the names of `PARAMETERS["sampler"]`.
_SOLVERS = {"dpmpp_sde_karras": True, "dpmpp_2m_karras": False}
_SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "unipc": ("UniPCMultistepScheduler", {"use_karras_sigmas": True, "steps_offset": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
# Distilled models' samplers choose their steps from a grid of so many: the smallest that has enough.
_GRIDS = (50, 100, 125, 200, 250, 500, 1000)


def make_scheduler(prediction_type: str = "epsilon", sampler: str = DEFAULT_SAMPLER) -> Any:
    """A scheduler by its name in `PARAMETERS["sampler"]`, called as diffusers' are.

    The default is DPM-Solver++ SDE with Karras sigmas (Lu et al. 2022; Karras et al. 2022), as the reference sets it
    up. The others but its noiseless form are diffusers', imported where one is asked for: that takes seconds.
    """
    if sampler in _SOLVERS:
        return DPMSolver(prediction_type, noisy=_SOLVERS[sampler])
    import diffusers

    kind, options = _SCHEDULERS[sampler]
    if sampler == "euler_a" and prediction_type == "sample":
        prediction_type = "epsilon"  # the one it has instead; `denoise` turns the predictions
    return getattr(diffusers, kind)(
        num_train_timesteps=TRAIN_STEPS,
        beta_start=BETAS[0],
        beta_end=BETAS[1],
        beta_schedule="linear",
        prediction_type=prediction_type,
        **options,
    )


@dataclass(frozen=True)
class Plan:
    """How a pass runs: the scheduler is set to `requested` steps, of which the last `running` run.

    With a strength below 1 the pass starts from a picture noised to that strength.
    """

    requested: int
    running: int


def plan(steps: int, strength: float | None) -> Plan:
    """`steps` denoising steps at `strength` in (0, 1], or from pure noise when strength is None.

    round(steps / strength) are requested so that about `steps` run. At least one always runs.
    """
    if strength is None:
        return Plan(steps, steps)
    requested = round(steps / strength)
    return Plan(requested, max(min(int(requested * strength), requested), 1))


@dataclass(frozen=True)
class Guidance:
    """Prompt embeddings (1 x L x dim each) and how far to go from the unconditional towards the conditional."""

    cond: torch.Tensor
    uncond: torch.Tensor
    scale: float

    @property
    def active(self) -> bool:
        return self.scale > 1.0


@dataclass(frozen=True)
class LightGuidance:
    """How far to go beyond the light that the model draws: prediction + extra * (light - light's mean).

    As InstructPix2Pix guides by its image (Brooks et al. 2023), the light is what the prediction without the words
    differs by from that under light that says nothing, for which the UNet sees `condition` (1 x C x h x w) and `text`
    (1 x L x dim). `extra` (1 x 1 x h x w) is the light's strength - 1 at each place; the mean is weighed by it, so that
    level and colour stay as the model has them, and only sides grow apart.
    """

    condition: torch.Tensor
    text: torch.Tensor
    extra: torch.Tensor


class NoisePredictor:
    """Calls the UNet on latents with their conditions; splits the batch when memory does not allow it whole."""

    def __init__(
        self,
        unet: UNet,
        guidance: Guidance,
        condition: torch.Tensor,
        prediction_type: str = "epsilon",
        light: LightGuidance | None = None,
    ) -> None:
        """`condition`: 1 x C x h x w latents that every sample sees, or N x C x h x w, one for each; so are the
        guidance's embeddings. `light`: None leaves it as the model draws it."""
        self.unet = unet
        self.prediction_type = prediction_type
        self.guidance = guidance
        self.condition = condition.to(unet.device, unet.dtype)
        self.cond = guidance.cond.to(unet.device, unet.dtype)
        self.uncond = guidance.uncond.to(unet.device, unet.dtype)
        self.even: tuple[torch.Tensor, torch.Tensor] | None = None
        if light is not None:
            self.even = light.condition.to(self.condition), light.text.to(self.cond)
            self.extra = light.extra.to(unet.device, torch.float32)
            total = self.extra.sum()
            self.share = self.extra / total if total else self.extra
        self.batch_limit: int | None = None

    def __call__(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """N x 4 x h x w -> the guided prediction of the same shape, float32: noise, or what `prediction_type` names."""
        texts = [self.uncond, self.cond] if self.guidance.active else [self.cond]
        conditions = [self.condition] * len(texts)
        if self.even is not None:
            conditions.append(self.even[0])
            texts.append(self.even[1])
        count = len(latents)
        latents = latents.to(self.condition.dtype)
        samples = [torch.cat([latents, one.expand(count, -1, -1, -1)], dim=1) for one in conditions]
        embeddings = torch.cat([one.expand(count, -1, -1) for one in texts])
        asked, *rest = self._predict(torch.cat(samples), timestep, embeddings).chunk(len(texts))
        guided = asked + self.guidance.scale * (rest[0] - asked) if self.guidance.active else asked
        if self.even is None:
            return guided.float()
        light = asked.float() - rest[-1].float()
        return guided.float() + self.extra * (light - (self.share * light).sum((2, 3), keepdim=True))

    def _predict(self, sample: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        while True:
            size = self.batch_limit or len(sample)
            try:
                parts = zip(sample.split(size), text.split(size), strict=True)
                return torch.cat([self.unet(s, timestep, t, return_dict=False)[0] for s, t in parts])
            except RuntimeError as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            # Samples do not see one another, so halves give the same numbers as the whole.
            self.batch_limit = max(1, size // 2)
            release_memory(sample.device)


def denoise(
    predict: NoisePredictor,
    steps: int,
    strength: float | None,
    latents: torch.Tensor | None,
    shape: tuple[int, ...],
    generator: Generators,
    on_step: StepCallback | None = None,
    sampler: str = DEFAULT_SAMPLER,
) -> torch.Tensor:
    """Run one pass and return its latents (N x 4 x h x w float32, scaled as the VAE's encoder gives them).

    From pure noise when `strength` is None; else from `latents` (1 or N x 4 x h x w) noised to `strength`. Noise is
    drawn as `solver.draw_noise` does. `on_step(step, steps, clean)` follows each step, from 1, with the current
    estimate of the clean latents; what it raises ends the pass. `sampler`: a choice of `PARAMETERS["sampler"]`.
    Raises ModelError when the numbers blow up.
    """
    device = predict.unet.device
    scheduler = make_scheduler(predict.prediction_type, sampler)
    chosen = plan(steps, strength)
    begin = chosen.requested - chosen.running
    timesteps = _set_steps(scheduler, chosen.requested, device)[begin:]
    # Near 1000 steps timesteps repeat; telling the scheduler where it stands keeps it from guessing by value.
    scheduler.set_begin_index(begin)
    # Only samplers that add noise on their way take a generator.
    draws = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}

    noise = draw_noise(shape, generator, device)
    if latents is None:
        current = noise * scheduler.init_noise_sigma
    else:
        start = latents.to(device, torch.float32).expand(shape)
        current = scheduler.add_noise(start, noise, timesteps[:1].repeat(shape[0]))

    for index, timestep in enumerate(timesteps, start=1):
        # Euler's latents grow with their noise; the UNet sees them at unit variance.
        seen = scheduler.scale_model_input(current, timestep)
        prediction = predict(seen, timestep)
        alpha, sigma = _noise_level(scheduler, begin + index - 1, timestep)
        clean = _clean(seen, prediction, alpha, sigma, predict.prediction_type)
        if scheduler.config.prediction_type != predict.prediction_type:
            prediction = (seen - alpha * clean) / sigma
        current = scheduler.step(prediction, timestep, current, **draws, return_dict=False)[0]
        if on_step is not None:
            on_step(index, len(timesteps), clean)
    if not torch.isfinite(current).all():
        raise ModelError(
            "The model's numbers overflowed (NaN or infinity), so there is no picture. "
            "Try --dtype float32, a lower CFG scale, or weights from another source."
        )
    return current


def _set_steps(scheduler: Any, steps: int, device: torch.device) -> torch.Tensor:
    """All of the schedule's timesteps, from noise to clean."""
    grid = {}
    if hasattr(scheduler.config, "original_inference_steps"):
        grid["original_inference_steps"] = next(size for size in _GRIDS if size >= steps)
    scheduler.set_timesteps(steps, device=device, **grid)
    timesteps: torch.Tensor = scheduler.timesteps
    return timesteps


def _noise_level(scheduler: Any, index: int, timestep: torch.Tensor) -> tuple[float, float]:
    """alpha and sigma of the latents that the UNet saw at a step: alpha * clean + sigma * noise."""
    if hasattr(scheduler, "sigmas"):  # sigma / alpha
        ratio = float(scheduler.sigmas[index])
        alpha = 1 / math.hypot(1, ratio)
        return alpha, ratio * alpha
    kept = float(scheduler.alphas_cumprod[timestep.cpu()])
    return math.sqrt(kept), math.sqrt(1 - kept)


def _clean(
    sample: torch.Tensor, prediction: torch.Tensor, alpha: float, sigma: float, prediction_type: str
) -> torch.Tensor:
    """The clean latents that a prediction implies: the cheapest honest preview there is."""
    if prediction_type == "sample":
        return prediction
    if prediction_type == "v_prediction":
        return alpha * sample - sigma * prediction
    return (sample - sigma * prediction) / alpha
