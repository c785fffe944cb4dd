"""Both passes over a prepared foreground: words and light in, latents and decoded pictures out.

    rendering = TwoPasses(loaded).render(foreground, settings, background)

A foreground's way: low pass -> decode, enlarge, encode -> high pass -> decode.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from . import prompts
from .diffusion import devices, sampler, vae
from .diffusion.acceleration import fingerprints
from .diffusion.progress import OnStep, Progress, fit_projection, share_of
from .diffusion.solver import Generators
from .editing.gain_map import fit_matte
from .imaging import crop
from .imaging import environment as maps
from .imaging import light_maps as lights
from .imaging.environment import Floats
from .loading import LoadedModel
from .results import Rendering
from .settings import Settings

MEMORY_ADVICE = (
    "Ask for fewer images, a smaller width and height, or a smaller highres scale; on a small GPU start with --offload."
)
# A light's name, its background (for fc its light map) and its environment, as `request` reads them.
LightRun = tuple[str, NDArray[np.uint8] | None, Floats | None]
# Lights in one batch: with mini on a CPU four take nine tenths of what they take one by one.
TOGETHER = 4


class TwoPasses:
    """A loaded model's two passes. Not to be run by two threads at once."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.tokenizer = loaded.tokenizer
        self.text_encoder = loaded.text_encoder
        self.vae = loaded.vae
        self.unet = loaded.unet
        self.embeddings = loaded.components.embeddings if loaded.components else {}
        self.environment_encoder = loaded.environment_encoder
        self.prediction_type = loaded.prediction_type
        self.placement = loaded.placement
        self.acceleration = loaded.acceleration
        self.memory = loaded.acceleration.new_memory()

    @torch.inference_mode()
    def render(
        self,
        foreground: NDArray[np.uint8],
        settings: Settings,
        background: NDArray[np.uint8] | None = None,
        on_step: OnStep | None = None,
        environment: Floats | None = None,
        alpha: NDArray[np.float32] | None = None,
    ) -> Rendering:
        """Two passes over a prepared foreground; `settings` must be complete. Decoding is left in floats.

        `background` (for fc the light map) and `environment` (32x32x3, exposed) are what `request` made of the inputs.
        `alpha` (HxWx1): the foreground's matte, where a `light_strength` other than 1 holds; None is everywhere.
        """
        assert settings.width is not None and settings.height is not None and settings.seed is not None
        assert (self.environment_encoder is None) == (environment is None) == (settings.workflow != "env")
        with (
            devices.memory_errors_explained(self.placement, MEMORY_ADVICE),
            devices.exact_float32(self.placement),
            self.acceleration.running(),
        ):
            return self._render(foreground, settings, background, on_step, environment, alpha)

    def _render(
        self,
        foreground: NDArray[np.uint8],
        settings: Settings,
        background: NDArray[np.uint8] | None,
        on_step: OnStep | None,
        environment: Floats | None,
        alpha: NDArray[np.float32] | None,
    ) -> Rendering:
        width, height = settings.width or 0, settings.height or 0
        backdrop, start = _light_of(settings, background)
        generator = self._generator(settings)
        large = crop.highres_size(width, height, settings.highres_scale)
        # A light that is only a start is strengthened by what it changed against even light.
        compares = start is not None and settings.light_strength != 1
        progress = Progress(on_step, _work(settings, (width, height), large, start is not None, 1 + compares))
        guidance, even_text = self._guidance(settings, environment)

        def backdrop_at(width: int, height: int) -> NDArray[np.uint8] | None:
            if backdrop is None or alpha is None or settings.backdrop_blur == 0:
                return backdrop
            shown = crop.resize_and_center_crop(backdrop, width, height)
            return lights.blur_hidden(shown, fit_matte(alpha, foreground.shape, width, height), settings.backdrop_blur)

        condition = self._condition(foreground, backdrop_at(width, height), width, height, progress)
        starts, even = None if start is None else [start], None
        if start is not None and compares:
            # The same noise under even light, from a generator of its own: what follows is as it is without.
            twin, hints = self._generator(settings), [even_light(start)]
            if settings.num_images == 1:
                follow = progress.stage("lowres")
                both = self._run_lowres(follow, condition, guidance, settings, [start, *hints], [generator, twin])
                low, latents = both.split(1)
            else:
                follow = progress.stage("lowres", 0, 2)
                latents = self._run_lowres(follow, condition, guidance, settings, hints, twin)
                follow = progress.stage("lowres", 1, 2)
                low = self._run_lowres(follow, condition, guidance, settings, starts, generator)
            even = vae.to_pixels(self.vae.decode(latents))
        else:
            low = self._run_lowres(progress.stage("lowres"), condition, guidance, settings, starts, generator)
        lowres = vae.to_pixels(self.vae.decode(low))
        enlarged = [crop.resize(picture, *large) for picture in lowres]
        high = self._run_pass(
            progress.stage("highres"),
            self._condition(foreground, backdrop_at(*large), *large, progress),
            guidance,
            settings,
            settings.highres_denoise,
            self.vae.encode(enlarged),
            generator,
            self._light_guidance(settings, foreground, backdrop, even_text, large, alpha),
        )
        return Rendering(
            decoded=self.vae.decode(high),
            latents={"lowres": low.cpu(), "highres": high.cpu()},
            background=None if backdrop is None else crop.resize_and_center_crop(backdrop, *large),
            lowres=lowres,
            even=even,
        )

    @torch.inference_mode()
    def render_each(
        self, foreground: NDArray[np.uint8], settings: Settings, runs: Sequence[LightRun], on_step: OnStep | None = None
    ) -> list[torch.Tensor]:
        """`render` for several lights of one seed, `TOGETHER` at a time in one batch: 1x3xHxW decoded floats for each.

        `settings` must be complete, with one image and a light strength of 1; their light is not looked at. A light's
        picture is the one that `render` makes of it, up to rounding.
        """
        assert settings.num_images == 1 and settings.light_strength == 1
        decoded: dict[int, torch.Tensor] = {}
        groups = _alike(settings, runs)
        with (
            devices.memory_errors_explained(self.placement, MEMORY_ADVICE),
            devices.exact_float32(self.placement),
            self.acceleration.running(),
        ):
            for number, group in enumerate(groups):
                follow = share_of(on_step, number, len(groups))
                rendered = self._render_together(foreground, settings, [runs[k] for k in group], follow)
                decoded |= zip(group, rendered.split(1), strict=True)
        return [decoded[k] for k in range(len(runs))]

    def _render_together(
        self, foreground: NDArray[np.uint8], settings: Settings, runs: Sequence[LightRun], on_step: OnStep | None
    ) -> torch.Tensor:
        small = settings.width or 0, settings.height or 0
        large = crop.highres_size(*small, settings.highres_scale)
        lit = [_light_of(settings.replace(light=light), background) for light, background, _ in runs]
        starts = [start for _, start in lit if start is not None]
        progress = Progress(on_step, _work(settings, small, large, bool(starts), 1))

        def condition(size: tuple[int, int]) -> torch.Tensor:
            shown = [backdrop for backdrop, _ in lit] if settings.workflow == "fbc" else [None]
            return torch.cat([self._condition(foreground, backdrop, *size, progress) for backdrop in shown])

        asked = [self._guidance(settings, environment)[0] for _, _, environment in runs]
        guidance = sampler.Guidance(
            torch.cat([one.cond for one in asked]), torch.cat([one.uncond for one in asked]), settings.cfg
        )
        generators = [self._generator(settings) for _ in runs]
        follow = progress.stage("lowres")
        low = self._run_lowres(follow, condition(small), guidance, settings, starts or None, generators)
        enlarged = [crop.resize(picture, *large) for picture in vae.to_pixels(self.vae.decode(low))]
        encoded, strength = self.vae.encode(enlarged), settings.highres_denoise
        follow = progress.stage("highres")
        return self.vae.decode(
            self._run_pass(follow, condition(large), guidance, settings, strength, encoded, generators)
        )

    def _generator(self, settings: Settings) -> torch.Generator:
        return torch.Generator(self.placement.noise_device).manual_seed(settings.seed or 0)

    def _run_lowres(
        self,
        on_step: sampler.StepCallback,
        condition: torch.Tensor,
        guidance: sampler.Guidance,
        settings: Settings,
        starts: Sequence[NDArray[np.uint8]] | None,
        generator: Generators,
    ) -> torch.Tensor:
        """The first pass: from pure noise, or from a picture that hints at the light; one, or one for each sample."""
        if starts is None:
            return self._run_pass(on_step, condition, guidance, settings, None, None, generator)
        hint = torch.cat([self._encode([start]) for start in starts])
        return self._run_pass(on_step, condition, guidance, settings, settings.lowres_denoise, hint, generator)

    def _run_pass(
        self,
        on_step: sampler.StepCallback,
        condition: torch.Tensor,
        guidance: sampler.Guidance,
        settings: Settings,
        strength: float | None,
        latents: torch.Tensor | None,
        generator: Generators,
        light: sampler.LightGuidance | None = None,
    ) -> torch.Tensor:
        count = len(generator) if isinstance(generator, list) else settings.num_images
        shape = (count, self.vae.channels, *condition.shape[2:])
        with devices.resident(self.unet, self.placement):
            predict = sampler.NoisePredictor(self.unet, guidance, condition, self.prediction_type, light)
            return sampler.denoise(
                predict, settings.steps, strength, latents, shape, generator, on_step, settings.sampler
            )

    def _guidance(self, settings: Settings, environment: Floats | None) -> tuple[sampler.Guidance, torch.Tensor]:
        """What the words (and the environment) ask for, and the text that says as little under even light."""
        cond, uncond = self._embed(settings)
        even = uncond if settings.cfg > 1 else cond
        if self.environment_encoder is not None and environment is not None:
            with devices.resident(self.environment_encoder, self.placement):
                light = self.environment_encoder.of(environment).to(cond)
                if settings.light_strength != 1:
                    even = torch.cat([even, self.environment_encoder.of(maps.even(environment)).to(cond)], dim=1)
            # Behind both texts, so that guidance strengthens the words and leaves the light as it is.
            cond, uncond = torch.cat([cond, light], dim=1), torch.cat([uncond, light], dim=1)
        return sampler.Guidance(cond, uncond, settings.cfg), even

    def _embed(self, settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
        """(cond, uncond) of the settings' prompts, 1 x L x dim each."""
        asked = (settings.positive_prompt, settings.negative_prompt, settings.emphasis, settings.clip_skip)

        def embed() -> tuple[torch.Tensor, torch.Tensor]:
            with devices.resident(self.text_encoder, self.placement):
                return prompts.encode_prompt_pair(
                    self.tokenizer,
                    self.text_encoder,
                    settings.positive_prompt,
                    settings.negative_prompt,
                    emphasis=settings.emphasis,
                    clip_skip=settings.clip_skip,
                    embeddings=self.embeddings,
                )

        return self.memory(asked, embed) if self.memory else embed()

    def _encode(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """`VAE.encode` of what the request brought, which the next may bring again."""
        if self.memory is None:
            return self.vae.encode(pictures)
        latents: torch.Tensor = self.memory(fingerprints(pictures), lambda: self.vae.encode(pictures))
        return latents

    def _light_guidance(
        self,
        settings: Settings,
        foreground: NDArray[np.uint8],
        backdrop: NDArray[np.uint8] | None,
        text: torch.Tensor,
        size: tuple[int, int],
        alpha: NDArray[np.float32] | None,
    ) -> sampler.LightGuidance | None:
        """Of the second pass, for lights that are conditions; the first settles what is where, not how it is lit.

        Measured with mini: guiding the first pass as well changes the light by less than 0.02 stops.
        """
        if settings.light_strength == 1 or settings.workflow == "fc":
            return None
        width, height = size
        ground = None if backdrop is None else even_light(backdrop)
        condition = self._condition(foreground, ground, width, height, Progress(None, {}))
        extra = np.ones(condition.shape[2:], np.float32)
        if alpha is not None:
            matte = fit_matte(alpha, foreground.shape, width, height)[..., 0]
            extra = cv2.resize(matte, extra.shape[::-1], interpolation=cv2.INTER_AREA)
        return sampler.LightGuidance(
            condition, text, (settings.light_strength - 1) * torch.from_numpy(extra)[None, None]
        )

    def _condition(
        self,
        foreground: NDArray[np.uint8],
        backdrop: NDArray[np.uint8] | None,
        width: int,
        height: int,
        progress: Progress,
    ) -> torch.Tensor:
        """1 x C x h x w: the foreground's latent, for fbc followed by the background's, cropped to width x height."""
        shown = [crop.resize_and_center_crop(p, width, height) for p in (foreground, backdrop) if p is not None]
        latents = self._encode(shown)
        factor = self.vae.factor
        if progress.on_step is not None:
            thumbnail = crop.resize(shown[0], width // factor, height // factor)
            progress.projection = fit_projection(latents[:1], thumbnail)
        return latents.reshape(1, -1, *latents.shape[2:])


def even_light(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Light from nowhere: a picture's mean colour, everywhere."""
    return np.broadcast_to(picture.mean(axis=(0, 1)).round().astype(np.uint8), picture.shape)


def _light_of(
    settings: Settings, background: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """(backdrop, start): a light is a condition where the model has one for it, else where the first pass starts."""
    width, height = settings.width or 0, settings.height or 0
    ramp = lights.light_map(settings.light, settings.workflow, width, height, settings.light_shape)
    if settings.workflow == "fbc":
        return background if ramp is None else ramp, None
    if ramp is None and background is not None:
        return None, crop.resize_and_center_crop(background, width, height)
    return None, ramp


def _alike(settings: Settings, runs: Sequence[LightRun]) -> list[list[int]]:
    """The runs' numbers in groups that go the same way through both passes, of `TOGETHER` at most."""
    groups: dict[bool, list[int]] = {}
    for k, (light, background, _) in enumerate(runs):
        starts = _light_of(settings.replace(light=light), background)[1] is not None
        groups.setdefault(starts, []).append(k)
    return [group[first : first + TOGETHER] for group in groups.values() for first in range(0, len(group), TOGETHER)]


def _work(
    settings: Settings, small: tuple[int, int], large: tuple[int, int], from_light: bool, runs: int
) -> dict[str, float]:
    low = runs * sampler.plan(settings.steps, settings.lowres_denoise if from_light else None).running
    high = sampler.plan(settings.steps, settings.highres_denoise).running
    return {"lowres": low * small[0] * small[1], "highres": high * large[0] * large[1]}
