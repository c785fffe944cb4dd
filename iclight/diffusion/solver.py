"""DPM-Solver++ of second order (Lu et al. 2022), with noise on its way (SDE) or without, at Karras' noise levels.

    solver = DPMSolver("sample", noisy=True)
    solver.set_timesteps(20, device)
    latents = solver.step(prediction, timestep, latents, generator)[0]  # for each of solver.timesteps

It is called as diffusers' schedulers are, and gives the numbers of its DPMSolverMultistepScheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TRAIN_STEPS = 1000
# Between which noise grows linearly, not as Stable Diffusion's "scaled_linear": so the offsets were published.
BETAS = (0.00085, 0.012)
RHO = 7.0


def alphas_cumprod() -> Tensor:
    """The signal's share of the variance at each of the 1000 timesteps of training."""
    betas = torch.linspace(*BETAS, TRAIN_STEPS, dtype=torch.float32)
    return torch.cumprod(1.0 - betas, dim=0)


# One for all samples, or one for each: then a sample's noise is what it would be if it were alone.
Generators = torch.Generator | list[torch.Generator]


def draw_noise(shape: Sequence[int], generator: Generators | None, device: torch.device) -> Tensor:
    """Standard normal float32 noise on `device`, drawn where the generators are."""
    if isinstance(generator, list):
        return torch.cat([draw_noise((1, *shape[1:]), one, device) for one in generator])
    where = device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, device=where, dtype=torch.float32).to(device)


@dataclass(frozen=True)
class _Config:
    prediction_type: str


class DPMSolver:
    """`prediction_type`: what the UNet's output means. `noisy`: the stochastic variant."""

    init_noise_sigma = 1.0

    def __init__(self, prediction_type: str = "epsilon", noisy: bool = True) -> None:
        self.config = _Config(prediction_type)
        self.noisy = noisy
        self.alphas_cumprod = alphas_cumprod()

    def set_timesteps(self, steps: int, device: torch.device | str | None = None) -> None:
        """`timesteps` (steps of them, falling) and `sigmas` (one more, the last 0), by Karras et al. 2022, eq. 5."""
        trained = np.array(((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5)
        low, high = trained[0].item() ** (1 / RHO), trained[-1].item() ** (1 / RHO)
        sigmas = (high + np.linspace(0, 1, steps) * (low - high)) ** RHO
        times = _timesteps_of(sigmas, np.log(trained))
        self.sigmas = torch.from_numpy(np.append(sigmas, 0).astype(np.float32))
        self.timesteps = torch.from_numpy(times).to(device=device, dtype=torch.int64)
        self._index = 0
        self._clean: Tensor | None = None

    def set_begin_index(self, index: int) -> None:
        """Start at `timesteps[index]`."""
        self._index = index

    def scale_model_input(self, sample: Tensor, timestep: Tensor | None = None) -> Tensor:
        """What the UNet sees: the sample as it is."""
        return sample

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor | None = None) -> Tensor:
        """`clean` at the noise level where the solver stands."""
        alpha, sigma = _split(self.sigmas[self._index])
        return alpha * clean + sigma * noise

    def step(
        self,
        prediction: Tensor,
        timestep: Tensor | None,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """(Latents at the next noise level,). Noise is drawn as `draw_noise` does."""
        sigmas, k = self.sigmas, self._index
        (alpha_now, sigma_now), (alpha, sigma) = _split(sigmas[k]), _split(sigmas[k + 1])
        clean = self._predicted_clean(prediction, sample, alpha_now, sigma_now)
        lambda_now = torch.log(alpha_now) - torch.log(sigma_now)
        h = torch.log(alpha) - torch.log(sigma) - lambda_now
        keep = sigma / sigma_now * torch.exp(-h) if self.noisy else sigma / sigma_now
        take = alpha * (1 - torch.exp((-2.0 if self.noisy else -1.0) * h))
        result = keep * sample + take * clean
        last = k == len(self.timesteps) - 1
        if self._clean is not None and not last:
            alpha_before, sigma_before = _split(sigmas[k - 1])
            ratio = (lambda_now - (torch.log(alpha_before) - torch.log(sigma_before))) / h
            result = result + 0.5 * take * ((1.0 / ratio) * (clean - self._clean))
        if self.noisy:
            noise = draw_noise(sample.shape, generator, sample.device)
            result = result + sigma * torch.sqrt(1.0 - torch.exp(-2 * h)) * noise
        self._clean, self._index = clean, k + 1
        return (result,)

    def _predicted_clean(self, prediction: Tensor, sample: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        if self.config.prediction_type == "sample":
            return prediction
        if self.config.prediction_type == "v_prediction":
            return alpha * sample - sigma * prediction
        return (sample - sigma * prediction) / alpha


def _split(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """A noise level over the signal -> alpha and sigma, whose squares sum to 1."""
    alpha = 1 / ((sigma**2 + 1) ** 0.5)
    return alpha, sigma * alpha


def _timesteps_of(sigmas: NDArray[np.float64], log_trained: NDArray[np.float32]) -> NDArray[np.float64]:
    """Noise levels -> the timesteps of training nearest to them, interpolated between logarithms and rounded."""
    logs = np.log(np.maximum(sigmas, 1e-10))
    below = np.searchsorted(log_trained, logs, side="right").clip(1, len(log_trained) - 1) - 1
    low, high = log_trained[below], log_trained[below + 1]
    share = ((low - logs) / (low - high)).clip(0, 1)
    return ((1 - share) * below + share * (below + 1)).round()
