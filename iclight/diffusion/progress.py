"""What a caller is told while a picture is being made, and how it can say stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import Cancelled

Projection = torch.Tensor  # (channels + 1) x 3: latents, with a one appended, times this give RGB in [0, 1]


@dataclass(frozen=True)
class StepEvent:
    """One denoising step done.

    `stage` is "lowres" or "highres", `step` runs from 1 to `steps` within it, `overall` in (0, 1] is the share of the
    whole request's work that is done.
    """

    stage: str
    step: int
    steps: int
    overall: float
    clean: torch.Tensor = field(repr=False)
    projection: Projection = field(repr=False)

    def preview(self) -> NDArray[np.uint8]:
        """The first picture as it looks by now: h x w x 3 uint8 at latent size, by a linear projection (no VAE)."""
        latent = self.clean[0].float().cpu()
        flat = torch.cat([latent.flatten(1), torch.ones(1, latent[0].numel())])
        rgb = (flat.T @ self.projection).clamp(0, 1).reshape(*latent.shape[1:], 3)
        return (rgb * 255).to(torch.uint8).numpy()


# Called after each step; returning False (not None) cancels.
OnStep = Callable[[StepEvent], bool | None]


def share_of(on_step: OnStep | None, run: int, runs: int) -> OnStep | None:
    """For one of several runs of a request: its steps, told as a share of them all."""
    if on_step is None:
        return None
    return lambda event: on_step(replace(event, overall=(run + event.overall) / runs))


def fit_projection(latent: torch.Tensor, picture: NDArray[np.uint8]) -> Projection:
    """The linear map from latents to colours that fits a picture whose latent (1 x C x h x w) is known.

    Least squares with a little ridge, so that it works for any VAE and costs a millisecond. `picture` is h x w x 3.
    """
    values = latent[0].cpu().double().flatten(1)  # in this order: MPS has no float64
    design = torch.cat([values, torch.ones(1, values.shape[1], dtype=torch.float64)]).T
    target = torch.from_numpy(picture.reshape(-1, 3).astype(np.float64)) / 255
    ridge = 1e-3 * len(design) * torch.eye(design.shape[1], dtype=torch.float64)
    return torch.linalg.solve(design.T @ design + ridge, design.T @ target).float()


class Progress:
    """Turns the sampler's steps into events for one request of several passes."""

    def __init__(self, on_step: OnStep | None, work: dict[str, float]) -> None:
        """`work`: each stage's share of the request, in order, in any unit; proportional to steps times area."""
        self.on_step = on_step
        self.work = work
        self.total = sum(work.values())
        self.projection: Projection | None = None

    def stage(self, name: str, run: int = 0, runs: int = 1) -> Callable[[int, int, torch.Tensor], None]:
        """The sampler's callback for one stage, or for one of several runs of it. It raises Cancelled when the caller
        says stop."""
        names = list(self.work)
        before = sum(self.work[earlier] for earlier in names[: names.index(name)])

        def after_step(step: int, steps: int, clean: torch.Tensor) -> None:
            if self.on_step is None:
                return
            assert self.projection is not None
            step, steps = step + run * steps, steps * runs
            overall = (before + self.work[name] * step / steps) / self.total
            event = StepEvent(name, step, steps, min(overall, 1.0), clean, self.projection)
            if self.on_step(event) is False:
                raise Cancelled()

        return after_step
