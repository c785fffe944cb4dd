"""The engine: load a model once, then relight pictures with it in two passes.

    relighter = Relighter.load("auto", workflow="fc")
    result = relighter.relight("photo.jpg", Settings.for_workflow("fc", prompt="sunset over sea", light="left"))
    result.images[0]

A picture's way: decode -> matte -> foreground on grey -> low pass -> decode, enlarge, encode -> high pass -> decode.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from . import prompts
from .diffusion import devices, sampler, vae
from .diffusion.acceleration import Levers, fingerprints
from .diffusion.progress import OnStep, Progress, fit_projection, share_of
from .diffusion.solver import Generators
from .editing.finish import finished
from .editing.gain_map import fit_matte
from .editing.strengthen import strengthen
from .errors import ModelError, SettingsError, quoted
from .imaging import crop, images
from .imaging import environment as maps
from .imaging import light_maps as lights
from .imaging.depths import to_depth
from .imaging.environment import Floats
from .imaging.grabcut import grabcut_matte
from .imaging.images import ImageLike, Picture
from .imaging.matte_doubts import matte_doubts
from .loading import LoadedModel, load_model
from .matting import estimate_matte, estimate_saliency, load_matting_network, prepare_foreground
from .request import read_backdrop, read_behind, read_map
from .results import Prepared, Rendering, Request, Result
from .settings import Settings
from .weights import manifest
from .weights import resolve as weights
from .weights.catalogue import MATTING_CHOICES, MATTINGS

MEMORY_ADVICE = (
    "Ask for fewer images, a smaller width and height, or a smaller highres scale; on a small GPU start with --offload."
)
# A light's name, its background (for fc its light map) and its environment, as `request` reads them.
LightRun = tuple[str, NDArray[np.uint8] | None, Floats | None]
# Lights in one batch: with mini on a CPU four take nine tenths of what they take one by one.
TOGETHER = 4


class Relighter:
    """One loaded model for one workflow. Requests run one at a time; more threads wait their turn."""

    def __init__(self, loaded: LoadedModel, matting: str = "auto") -> None:
        """`loaded`: what `load_model` gives. `matting`: who cuts the subject out where a request does not say."""
        self.loaded = loaded
        self.tokenizer = loaded.tokenizer
        self.text_encoder = loaded.text_encoder
        self.vae = loaded.vae
        self.unet = loaded.unet
        self.embeddings = loaded.components.embeddings if loaded.components else {}
        self.environment_encoder = loaded.environment_encoder
        self.prediction_type = loaded.prediction_type
        self.placement = loaded.placement
        self.model = loaded.model
        self.workflow = loaded.model.workflow
        self.matting = matting
        self.acceleration = loaded.acceleration
        self._memory = loaded.acceleration.new_memory()
        self._networks: dict[str, torch.nn.Module] = {}
        self._matting_files: dict[str, Path] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        model: str | Path = "auto",
        workflow: str = "fc",
        offset: str | Path | None = None,
        matting: str = "auto",
        device: str = "auto",
        dtype: str = "auto",
        *,
        vae: str | Path | None = None,
        lora: str | Path | Sequence[str | Path] = (),
        embedding: str | Path | Sequence[str | Path] = (),
        offload: bool = False,
        speed: str | Levers = "exact",
        share: Relighter | None = None,
    ) -> Relighter:
        """Load a model for a workflow ("fc", "fbc" or "env").

        `model`: "auto", "mini", "sd15", a folder or hub id in diffusers layout, or an SD1.5 .safetensors checkpoint.
        `offset`: path or hub file of an IC-Light offset, None for the model's own. `matting`: "auto", "rmbg", "ormbg",
        "u2netp", "grabcut" or "none". `device`: "auto", "cuda", "mps", "cpu". `dtype`: "auto", "float32", "float16",
        "bfloat16". `vae`: another VAE than the model's own: a file, folder or hub id. `lora`: one or more "PATH" or
        "PATH:SCALE", on the hub too. `embedding`: one or more textual inversions, "FILE" or "FILE:NAME", for prompts to
        name. `offload` keeps parts off the GPU while they idle. `speed`: "exact" computes what the reference
        computes, "fast" and "max" the same faster, up to rounding; or `Levers` of the caller's own.
        `share`: a relighter for another workflow, whose text encoder and VAE are used instead of read again where they
        are the same.

        Raises WeightsError when files are missing or broken, ModelError when they do not fit, DeviceError.
        """
        cls.check_matting(matting)
        shared = None if share is None else share.loaded
        loaded = load_model(
            model,
            workflow,
            offset,
            device,
            dtype,
            vae=vae,
            lora=lora,
            embedding=embedding,
            offload=offload,
            speed=speed,
            share=shared,
        )
        relighter = cls(loaded, matting)
        if matting in MATTINGS and MATTINGS[matting].file:
            relighter.matting_network(matting)  # missing weights are said now, not after the first upload
        return relighter

    # --- the request --------------------------------------------------------------------------------------------

    def relight(
        self,
        image: ImageLike,
        settings: Settings | None = None,
        background: ImageLike | None = None,
        mask: ImageLike | None = None,
        on_step: OnStep | None = None,
        *,
        matting: str | None = None,
        environment: ImageLike | None = None,
        behind: ImageLike | None = None,
        light_map: ImageLike | None = None,
    ) -> Result:
        """Relight one picture.

        `image`: HxWx3 or HxWx4 uint8 array, Pillow picture, path or bytes; alpha, if any, is the matte. `settings`:
        defaults of the workflow if None. `background`: for fbc with light "upload" or "upload-flipped". `mask`: HxW
        matte of the caller's own, which wins over alpha and network. `on_step` is called after each denoising step
        with a `StepEvent`; returning False cancels. `matting` overrides the loaded choice for this request.
        `environment`: for env with light "upload", whatever `environment.read_environment` takes. `behind`: for
        finish_background "own", the picture to put behind the subject. `light_map`: for fc with light "upload".

        Raises SettingsError or ImageError before any model runs; ModelError, OutOfMemory or Cancelled afterwards.
        """
        request = self.open(
            image,
            settings,
            background,
            mask,
            matting=matting,
            environment=environment,
            behind=behind,
            light_map=light_map,
        )
        with self.exclusive():
            prepared = self.prepare(request.picture.rgb, request.own_alpha, matting)
            rendering = self.draw(request, prepared, on_step)
        return self.finish(request, prepared, rendering)

    def open(
        self,
        image: ImageLike,
        settings: Settings | None = None,
        background: ImageLike | None = None,
        mask: ImageLike | None = None,
        *,
        matting: str | None = None,
        environment: ImageLike | None = None,
        behind: ImageLike | None = None,
        light_map: ImageLike | None = None,
    ) -> Request:
        """`relight`'s first part: its arguments decoded and checked, its settings completed. No model runs.

        What follows is `prepare`, `draw` and `finish`. Others' may run meanwhile, but for `draw`: one at a time.
        Raises SettingsError or ImageError.
        """
        started = time.perf_counter()
        picture, own, settings = self.open_request(image, settings, mask, matting)
        return Request(
            picture=picture,
            own_alpha=own,
            settings=settings,
            backdrop=read_backdrop(settings, background if self.workflow == "fbc" else light_map),
            environment=read_map(settings, environment),
            behind=read_behind(settings, behind),
            has_mask=mask is not None,
            started=started,
        )

    def draw(self, request: Request, prepared: Prepared, on_step: OnStep | None = None) -> Rendering:
        """`relight`'s work on the device: both passes, as `render` makes them."""
        return self.render(
            prepared.foreground, request.settings, request.backdrop, on_step, request.environment, prepared.alpha
        )

    def finish(self, request: Request, prepared: Prepared, rendering: Rendering) -> Result:
        """`relight`'s last part, without a model: decoded floats to pixels, strengthened and finished as asked."""
        settings = request.settings
        if self.workflow == "fbc":
            made: list[Any] = [images.unit_to_pixels(unit) for unit in vae.to_unit(rendering.decoded)]
        else:
            made = vae.to_pixels(rendering.decoded)
        check_pictures(made)
        if rendering.even is not None:
            runs = zip(made, rendering.lowres, rendering.even, strict=True)
            made = [strengthen(*run, prepared.alpha, settings.light_strength) for run in runs]
        light, native = None, None
        if settings.finishes:
            kind, strength, background = settings.finish, settings.finish_strength, settings.finish_background
            own_colours = not request.has_mask and prepared.matting == "alpha"
            native = request.picture.native if kind == "native" else None
            made, light = finished(
                made,
                request.picture.rgb,
                prepared.alpha,
                kind,
                strength,
                background,
                request.behind,
                own_colours,
                native,
            )
        return Result(
            images=[to_depth(one, np.uint8) for one in made],
            deep=made if made[0].dtype == np.uint16 else None,
            foreground=prepared.foreground,
            alpha=prepared.alpha,
            background=rendering.background,
            latents=rendering.latents,
            settings=settings,
            matting="mask" if request.has_mask else prepared.matting,
            model=self.identity(prepared.matting),
            seconds=time.perf_counter() - request.started,
            environment=request.environment,
            light=light,
            icc=None if native is None else native.space.icc,
            matte_doubts=prepared.matte_doubts,
        )

    def open_request(
        self, image: ImageLike, settings: Settings | None, mask: ImageLike | None, matting: str | None
    ) -> tuple[Picture, NDArray[np.float32] | None, Settings]:
        """What every request opens with: the picture, its own matte HxWx1 if it brings one, complete settings.

        Raises SettingsError or ImageError.
        """
        settings = settings or Settings.for_workflow(self.workflow)
        self.check_settings(settings)
        self.check_matting(matting)
        picture = images.read_picture(image)
        _, own = images.read_own_matte(picture, mask)
        return picture, own, self.complete(settings, picture.rgb)

    def exclusive(self) -> threading.Lock:
        """Held while a request runs: one at a time, so that two do not crowd each other out of memory."""
        return self._lock

    def check_settings(self, settings: Settings) -> None:
        """Raise SettingsError unless the settings are for this relighter's workflow and text encoder."""
        if settings.workflow != self.workflow:
            raise SettingsError(
                "These settings are for the {asked} workflow, but the {workflow} model is loaded: use "
                "Settings.for_workflow({call}), or load the other workflow.",
                asked=settings.workflow,
                workflow=self.workflow,
                call=quoted(self.workflow),
            )
        texts = (settings.prompt, settings.added_prompt, settings.negative_prompt)
        prompts.check_prompts(self.text_encoder, texts, settings.emphasis, settings.clip_skip)

    @staticmethod
    def check_matting(matting: str | None) -> None:
        """Raise SettingsError unless `matting` is a known choice or None."""
        if matting is not None and matting not in MATTING_CHOICES:
            raise SettingsError(
                "matting is {matting}, but it takes one of {choices}.",
                matting=quoted(matting, 60),
                choices=", ".join(MATTING_CHOICES),
            )

    def complete(self, settings: Settings, picture: NDArray[np.uint8]) -> Settings:
        """Settings with everything left open decided: size after the picture, seed drawn."""
        width, height = crop.size_for(
            (picture.shape[1], picture.shape[0]), self.model.native_size, settings.width, settings.height
        )
        seed = secrets.randbelow(2**32) if settings.seed is None else settings.seed
        return settings.replace(width=width, height=height, seed=seed)

    def prepare(
        self,
        picture: NDArray[np.uint8],
        own_alpha: NDArray[np.float32] | None = None,
        matting: str | None = None,
        sigma: float = 0.0,
    ) -> Prepared:
        """Cut the foreground out: by the caller's matte if there is one, else by the chosen matting.

        With matting "none" and no matte the picture stands as it is. `sigma` brightens the subject (normals use 16).
        """
        if own_alpha is not None:
            return Prepared(picture, prepare_foreground(picture, own_alpha, sigma), own_alpha, "alpha")
        used = self.resolve_matting(matting)
        if used == "none":
            alpha = np.ones((*picture.shape[:2], 1), np.float32)
            foreground = picture if sigma == 0 else prepare_foreground(picture, alpha, sigma)
            return Prepared(picture, foreground, alpha, used)
        if used == "grabcut":
            alpha = grabcut_matte(picture)
        else:
            with devices.memory_errors_explained(self.placement, "Use --matting grabcut, or a smaller picture."):
                network = self.matting_network(used)
                with devices.resident(network, self.placement):
                    if used == "u2netp":
                        alpha = estimate_saliency(network, picture)
                    else:
                        alpha = estimate_matte(network, picture, unit_range=used == "ormbg")
        return Prepared(picture, prepare_foreground(picture, alpha, sigma), alpha, used, matte_doubts(alpha))

    def resolve_matting(self, matting: str | None = None) -> str:
        """The matting that runs for pictures without a matte of their own: a name of `MATTINGS`."""
        chosen = matting or self.matting
        return weights.resolve_matting("auto").name if chosen == "auto" else chosen

    def matting_network(self, name: str) -> torch.nn.Module:
        """The loaded network of that name, fetched on first use."""
        if name not in self._networks:
            found = weights.resolve_matting(name)
            assert found.path is not None
            self._networks[name] = load_matting_network(found.path, self.placement.home)
            self._matting_files[name] = found.path
        return self._networks[name]

    def use_matting_network(self, name: str, network: torch.nn.Module) -> None:
        """Run a network of the caller's own, in eval mode, wherever matting `name` is chosen: a U2NetP for "u2netp"."""
        self._networks[name] = network.to(self.placement.home)

    # --- the two passes -----------------------------------------------------------------------------------------

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

        return self._memory(asked, embed) if self._memory else embed()

    def _encode(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """`VAE.encode` of what the request brought, which the next may bring again."""
        if self._memory is None:
            return self.vae.encode(pictures)
        latents: torch.Tensor = self._memory(fingerprints(pictures), lambda: self.vae.encode(pictures))
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

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The settings that the model's card (iclight.json) names for this workflow; faces begin with them."""
        return self.model.defaults.get(self.workflow, {})

    # --- what it is -----------------------------------------------------------------------------------------------

    def identity(self, matting: str | None = None) -> dict[str, Any]:
        """Names and hashes of everything that decides the pixels, for recipes; `matting`: the one that was used."""
        network = self._matting_files.get(matting or "")
        return {**(self.loaded.identity or {}), "matting_sha256": manifest.sha256_of(network) if network else None}

    def __repr__(self) -> str:
        return f"Relighter({self.model.name!r}, {self.workflow!r}, {self.placement})"


def check_pictures(made: Sequence[NDArray[np.uint8]]) -> None:
    """Raise ModelError for black pictures: half precision overflowed somewhere, and that is never a result."""
    if any(not picture.any() for picture in made):
        raise ModelError("The model returned a black picture: its numbers overflowed. Try --dtype float32.")


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
