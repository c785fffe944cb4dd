"""iclight as a diffusers pipeline: the usual call, the engine's own two passes behind it.

    pipe = DiffusionPipeline.from_pretrained("models/mini", custom_pipeline="deploy/diffusers", trust_remote_code=True)
    pipe("sunset over sea", image=photo, light="left", generator=torch.manual_seed(7)).images[0]

The parts are diffusers' and transformers' own, so `save_pretrained`, `to` and their like work; the engine runs on the
same tensors. Reads top-down: ICLightPipeline -> __call__ -> _relighter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from PIL import Image

from iclight import Relighter, Settings
from iclight.diffusion.checkpoints import module_around
from iclight.diffusion.devices import Placement
from iclight.diffusion.tensors import MemorySource
from iclight.diffusion.unet import INPUT_CHANNELS, LATENT_CHANNELS, check_kind, load_unet, open_offset
from iclight.diffusion.vae import VAE
from iclight.errors import ModelError, SettingsError
from iclight.loading import LoadedModel
from iclight.networks.clip import open_tokenizer
from iclight.weights.resolve import Model, resolve_model

OUTPUTS = ("pil", "np", "pt", "latent")
WORKFLOWS = ("fc", "fbc")
# Seeds are whole numbers below this; a generator's may be of 64 bits.
SEEDS = 2**53


class ICLightPipeline(DiffusionPipeline):
    """Relights a picture by words and a light (workflow "fc") or by a background ("fbc"), in two passes."""

    model_cpu_offload_seq = "text_encoder->unet->vae"

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: Any,
        tokenizer: Any,
        unet: UNet2DConditionModel,
        scheduler: Any,
        workflow: str = "fc",
        offset: str | None = None,
        native_size: tuple[int, int] | None = None,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        """The parts of an SD1.5, or of a saved ICLightPipeline, whose UNet is widened already.

        `scheduler` says what the UNet predicts; the sampler is a setting of each call. `workflow`: "fc" or "fbc".
        `offset`: an IC-Light offset as `Relighter.load` takes it; None for the model folder's own. `native_size`,
        `defaults`: (width, height) and settings that suit the model; None for those of the folder's iclight.json.

        Raises ModelError where the parts do not fit, WeightsError where the offset is not there.
        """
        super().__init__()
        if workflow not in WORKFLOWS:
            raise SettingsError("The pipeline runs fc and fbc; for env use iclight.Relighter.")
        if unet.config.in_channels == LATENT_CHANNELS:
            folder = Path(unet.config._name_or_path)
            model = resolve_model(str(folder.parent if folder.name == "unet" else folder), workflow, offset)
            unet = _merged(unet, model, workflow)
            native_size = native_size or model.native_size
            defaults = dict(model.defaults.get(workflow, {})) if defaults is None else defaults
        if unet.config.in_channels != INPUT_CHANNELS[workflow]:
            raise ModelError(
                "The UNet takes {found} input channels; workflow {workflow} needs {wanted}.",
                found=unet.config.in_channels,
                workflow=workflow,
                wanted=INPUT_CHANNELS[workflow],
            )
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        size = list(native_size or (512, 640))
        self.register_to_config(workflow=workflow, offset=None, native_size=size, defaults=defaults or {})
        self._interrupt = False
        self._known: tuple[Any, Relighter] | None = None

    def __call__(
        self,
        prompt: str = "",
        image: Any = None,
        mask_image: Any = None,
        background: Any = None,
        negative_prompt: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | None = None,
        callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], Any] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        matting: str = "auto",
        **settings: Any,
    ) -> Any:
        """Relight a picture; what is left open is the model's own default.

        `image`: a Pillow picture, HxWxC uint8 array, path or bytes; its alpha, if any, is the matte. `mask_image`: a
        matte of the same size, white where the subject is. `background`: what lights the picture in workflow "fbc".
        `generator`: only its initial seed counts, since the engine draws its own noise; None draws a seed.
        `callback_on_step_end`: called with (pipeline, step from 0, thousandths left of the whole, {"latents": clean
        ones}); setting `pipeline._interrupt` cancels. `output_type`: "pil", "np" (NxHxWxC in [0, 1]), "pt" (NxCxHxW)
        or "latent". `matting`: who cuts the subject out. `settings`: any other of `iclight.parameters.PARAMETERS`.

        Returns ImagePipelineOutput, or a tuple of the pictures. Raises SettingsError or ImageError before any model
        runs; ModelError, OutOfMemory or Cancelled afterwards.
        """
        if output_type not in OUTPUTS:
            raise SettingsError(f"output_type takes one of {', '.join(OUTPUTS)}.")
        given = {
            "negative_prompt": negative_prompt,
            "steps": num_inference_steps,
            "cfg": guidance_scale,
            "seed": None if generator is None else generator.initial_seed() % SEEDS,
        }
        named = {name: value for name, value in given.items() if value is not None}
        asked: dict[str, Any] = {"seed": None, **self.config.defaults, **named, **settings}
        asked |= {"prompt": prompt, "num_images": num_images_per_prompt}
        self._interrupt = False
        result = self._relighter().relight(
            image,
            Settings.for_workflow(self.config.workflow, **asked),
            background if self.config.workflow == "fbc" else None,
            mask_image,
            self._follow(callback_on_step_end),
            matting=matting,
            light_map=background if self.config.workflow == "fc" else None,
        )
        images = _as_output(result, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _follow(self, callback: Callable[..., Any] | None) -> Callable[[Any], bool]:
        step = -1

        def on_step(event: Any) -> bool:
            nonlocal step
            step += 1
            if callback is not None:
                callback(self, step, round(1000 * (1 - event.overall)), {"latents": event.clean})
            return not self._interrupt

        return on_step

    def _relighter(self) -> Relighter:
        """The engine on the pipeline's own tensors, built anew where those have moved or changed their type."""
        parts = (self.vae, self.text_encoder, self.unet)
        key = tuple((id(part), part.device, part.dtype) for part in parts)
        if self._known is None or self._known[0] != key:
            self._known = key, self._built()
        return self._known[1]

    def _built(self) -> Relighter:
        placement = Placement(self.unet.device, self.unet.dtype, self.vae.dtype)
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            tokenizer = open_tokenizer(Path(folder))
        unet = module_around("unet", self.unet.config, self.unet.state_dict())
        text_encoder = module_around("text_encoder", self.text_encoder.config.to_dict(), self.text_encoder.state_dict())
        vae = VAE(module_around("vae", self.vae.config, self.vae.state_dict()), placement)
        name = str(self.config.get("_name_or_path") or "a diffusers pipeline")
        workflow, size = self.config.workflow, tuple(self.config.native_size)
        model = Model(name, Path(name), Path(name), Path(name), workflow, size, "as its author states", name)
        prediction = self.scheduler.config.get("prediction_type", "epsilon")
        return Relighter(LoadedModel(tokenizer, text_encoder, vae, unet, placement, model, prediction_type=prediction))


def _merged(unet: UNet2DConditionModel, model: Model, workflow: str) -> UNet2DConditionModel:
    """A text-to-image UNet widened, with the model's offset added; in the type that it has."""
    base = {name: tensor.to("cpu") for name, tensor in unet.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in base.items()}
    offset = open_offset(model.offset, shapes)
    check_kind(offset, workflow)
    config: Mapping[str, Any] = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    merged = load_unet(MemorySource(base, "the pipeline's UNet"), config, offset, workflow, unet.dtype, unet.device)
    with torch.device("meta"):
        wide = UNet2DConditionModel.from_config({**config, "in_channels": INPUT_CHANNELS[workflow]})
    wide.load_state_dict(merged.state_dict(), strict=True, assign=True)
    return wide.eval()


def _as_output(result: Any, kind: str) -> Any:
    if kind == "latent":
        return result.latents["highres"]
    if kind == "pil":
        return [Image.fromarray(picture) for picture in result.images]
    stacked = np.stack(result.images).astype(np.float32) / 255
    return stacked if kind == "np" else torch.from_numpy(stacked).permute(0, 3, 1, 2)
