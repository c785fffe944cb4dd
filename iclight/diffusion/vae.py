"""The VAE's two directions: pictures -> scaled latents, scaled latents -> decoded floats.

However many pictures there are, they pass through a few at a time, which bounds memory. Where even those do not fit,
the VAE works in tiles: slower, and a little different at the seams, so only then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ModelError
from ..networks.autoencoder import Autoencoder
from .devices import Placement, free_memory, is_out_of_memory, release_memory, resident

Work = Callable[[torch.Tensor], torch.Tensor]


class VAE:
    """An autoencoder with the engine's conventions. `factor` is pixels per latent (SD: 8)."""

    def __init__(self, vae: Autoencoder, placement: Placement) -> None:
        self.model = vae
        self.placement = placement
        self.factor = vae.factor
        self.channels = vae.latent_channels

    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """HxWx3 uint8 pictures of one size -> Nx4xhxw float32 latents: the posterior's mode, scaled."""

        def work(pixels: torch.Tensor) -> torch.Tensor:
            return self.model.encode(self._place(pixels)) * self.model.scaling_factor

        height, width = pictures[0].shape[:2]
        # Two at a time: foreground and background go together, as in the reference. On flat pictures group norm
        # magnifies rounding, and rounding depends on the batch.
        return self._pass(to_tensor(pictures).split(2), work, width, height)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Nx4xhxw scaled latents -> Nx3xHxW float32 on the CPU, about [-1, 1], not clipped."""

        def work(latent: torch.Tensor) -> torch.Tensor:
            return self.model.decode(self._place(latent) / self.model.scaling_factor).float().cpu()

        height, width = (side * self.factor for side in latents.shape[2:])
        return self._pass(latents.split(1), work, width, height)

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.placement.device, self.placement.vae_dtype)

    def _pass(self, batches: Sequence[torch.Tensor], work: Work, width: int, height: int) -> torch.Tensor:
        with resident(self.model, self.placement):
            self.model.tiled = self._will_not_fit(width, height)
            try:
                done = torch.cat([self._whole_or_tiled(work, batch) for batch in batches]).float()
            finally:
                self.model.tiled = False
        if not torch.isfinite(done).all():
            raise ModelError(
                "The VAE's numbers overflowed (NaN or infinity), so there is no picture. Try --dtype float32."
            )
        return done

    def _whole_or_tiled(self, work: Work, batch: torch.Tensor) -> torch.Tensor:
        try:
            return work(batch)
        except RuntimeError as error:
            if self.model.tiled or not is_out_of_memory(error):
                raise
        release_memory(self.placement.device)
        self.model.tiled = True
        return torch.cat([work(item) for item in batch.split(1)])

    def _will_not_fit(self, width: int, height: int) -> bool:
        """A CPU short of memory is killed rather than refused, so there the need is estimated beforehand.

        The decoder's widest full-size layers dominate: about six activations of its first block's channels are alive.
        """
        if self.placement.device.type == "cuda":
            return False
        channels = self.model.widths[0] * 2
        need = 6 * channels * width * height * torch.finfo(self.placement.vae_dtype).bits // 8
        room = free_memory(self.placement.device)
        return room is not None and need > 0.7 * room


def to_tensor(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """HxWx3 uint8 pictures of one size -> Nx3xHxW float32, 0 -> -1, 127 -> 0, 255 -> 1.0079."""
    return (torch.from_numpy(np.stack(images)).float() / 127.0 - 1.0).movedim(-1, 1)


def to_pixels(decoded: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Nx3xHxW floats about [-1, 1] -> pictures: y * 127.5 + 127.5, clipped, truncated."""
    values = decoded.movedim(1, -1).float().cpu().numpy()
    return list((values * 127.5 + 127.5).clip(0, 255).astype(np.uint8))


def to_unit(decoded: torch.Tensor) -> list[NDArray[np.float32]]:
    """Nx3xHxW floats about [-1, 1] -> HxWx3 float32 in [0, 1], as the fbc workflow's last decode has them."""
    values = decoded.movedim(1, -1).float().cpu().numpy()
    return list((values * 0.5 + 0.5).clip(0, 1))
