"""The solver is diffusers' DPMSolverMultistepScheduler, number for number."""

from __future__ import annotations

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from iclight.diffusion.solver import DPMSolver, alphas_cumprod


def theirs(prediction_type: str, noisy: bool) -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        algorithm_type="sde-dpmsolver++" if noisy else "dpmsolver++",
        use_karras_sigmas=True,
        steps_offset=1,
        prediction_type=prediction_type,
    )


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_every_step_ends_where_diffusers_ends(kind, noisy):
    for steps, begin in ((1, 0), (2, 0), (9, 0), (28, 3), (40, 39), (1000, 990)):
        solvers = DPMSolver(kind, noisy), theirs(kind, noisy)
        ended = []
        for solver in solvers:
            generator = torch.Generator().manual_seed(1)
            solver.set_timesteps(steps)
            solver.set_begin_index(begin)
            clean, noise = torch.randn(2, 2, 4, 8, 8, generator=generator)
            current = solver.add_noise(clean, noise, solver.timesteps[begin : begin + 1].repeat(2))
            for timestep in solver.timesteps[begin:]:
                prediction = torch.sin(current + timestep)
                current = solver.step(prediction, timestep, current, generator=generator, return_dict=False)[0]
            ended.append(current)
        assert torch.equal(solvers[0].timesteps, solvers[1].timesteps)
        assert torch.equal(solvers[0].sigmas, solvers[1].sigmas)
        torch.testing.assert_close(*ended, rtol=1e-6, atol=1e-6)


def test_noise_grows_as_in_the_references_training():
    assert torch.equal(alphas_cumprod(), theirs("epsilon", True).alphas_cumprod)
