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

import numpy as np
import torch
from numpy.typing import NDArray

from . import prompts
from .diffusion import devices, vae
from .diffusion.acceleration import Levers
from .diffusion.progress import OnStep
from .editing.finish import finished
from .editing.strengthen import strengthen
from .errors import ModelError, SettingsError, quoted
from .imaging import crop, images
from .imaging.depths import to_depth
from .imaging.grabcut import grabcut_matte
from .imaging.images import ImageLike, Picture
from .imaging.matte_doubts import matte_doubts
from .loading import LoadedModel, load_model
from .matting import estimate_matte, estimate_saliency, load_matting_network, prepare_foreground
from .passes import TwoPasses
from .request import read_backdrop, read_behind, read_map
from .results import Prepared, Rendering, Request, Result
from .settings import Settings
from .weights import manifest
from .weights import resolve as weights
from .weights.catalogue import MATTING_CHOICES, MATTINGS


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
        self.passes = TwoPasses(loaded)
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
        """`relight`'s work on the device: both passes (`TwoPasses.render`)."""
        return self.passes.render(
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
                    memory = self.passes.memory
                    if used == "u2netp":
                        alpha = estimate_saliency(network, picture, memory=memory)
                    else:
                        alpha = estimate_matte(network, picture, unit_range=used == "ormbg", memory=memory)
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

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The settings that the model's card (iclight.json) names for this workflow; faces begin with them."""
        return self.model.defaults.get(self.workflow, {})

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
