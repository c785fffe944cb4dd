"""What is trained: a UNet with room for conditions, environment tokens, a small text encoder, the merging MLP.

One network answers all three workflows: 12 input channels (noisy latents, foreground, background), the background
zeroed in fc and env, environment tokens masked away in fc and fbc. `export.py` writes it as a base and three offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from iclight.diffusion.environment_encoder import TOKENS, EnvironmentEncoder, compressed

LATENTS = 4
INPUT_CHANNELS = 3 * LATENTS
GROUPS = 8
HEAD = 16  # channels of a head of the pooling attention
POOLING_GAIN = 0.2  # of what is pooled, at first
COMPONENTS = 96  # principal ones of the environments, that the tokens begin with
MERGE_STEPS, MERGE_PLACES, MERGE_RATE = 300, 1024, 1e-2


class RelightingModel(nn.Module):
    """UNet, text encoder, environment tokens and merging MLP; `forward` predicts what `prediction_type` says."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokens: EnvironmentEncoder,
        merge: nn.Module,
        prediction_type: str = "epsilon",
    ) -> None:
        super().__init__()
        self.prediction_type = prediction_type
        self.unet = unet
        self.text_encoder = text_encoder
        self.tokens = tokens
        self.merge = merge
        self.normal_head: nn.Conv2d | None = None
        self.predicted_normals: Tensor | None = None

    def add_normal_head(self) -> None:
        """From now on, `predicted_normals` after `forward` is Bx3xhxw: the normals that a linear layer reads off the
        features of the last level but one, before the light is laid on them.

        Learnt beside the picture, they make the network see the form that light falls on (as normals do in Pandey et
        al., "Total Relighting", 2021). Nothing of it is saved: what ships is the UNet.
        """
        block: Any = self.unet.up_blocks[max(0, len(self.unet.up_blocks) - 3)]
        self.normal_head = nn.Conv2d(block.resnets[-1].out_channels, 3, 1)

        def read_normals(_block: nn.Module, _inputs: Any, features: Tensor) -> None:
            assert self.normal_head is not None
            self.predicted_normals = self.normal_head(features)

        block.register_forward_hook(read_normals)

    def forward(
        self, latents: Tensor, timesteps: Tensor, words: Tensor, environments: Tensor, has_environment: Tensor
    ) -> Tensor:
        """Bx4xhxw, what `prediction_type` names.

        `latents`: Bx12xhxw, noisy latents, foreground, background; `timesteps`: B.
        `words`: Bx77 token ids; `environments`: Bx3x32x32 radiance; `has_environment`: B booleans.

        Rows without an environment have the end of their words three times more in its place: words end in padding,
        dozens of times the same, so they see what they see without. (A mask would do, too, but not for what is pooled.)
        """
        text = self.text_encoder(words).last_hidden_state
        around = self.tokens(environments).to(text.dtype)
        around = torch.where(has_environment[:, None, None], around, text[:, -TOKENS:])
        context = torch.cat([text, around], 1)
        predicted: Tensor = self.unet(latents, timesteps, encoder_hidden_states=context, return_dict=False)[0]
        return predicted


class Merge(nn.Module):
    """The paper's small MLP that adds two lights: clean latents under L1 and L2 -> those under L1 + L2, per place.

    Latents are not linear in light, so a sum would be wrong; the sum is where it starts from, though.
    """

    def __init__(self, channels: int = LATENTS, hidden: int = 64) -> None:
        super().__init__()
        last = nn.Conv2d(hidden, channels, 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        middle = nn.Conv2d(hidden, hidden, 1)
        first = nn.Conv2d(2 * channels, hidden, 1)
        self.layers = nn.Sequential(first, nn.LeakyReLU(0.2), middle, nn.LeakyReLU(0.2), last)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        # Order must not matter: lights commute.
        both, swapped = torch.cat([first, second], 1), torch.cat([second, first], 1)
        merged: Tensor = 0.5 * (first + second) + 0.5 * (self.layers(both) + self.layers(swapped))
        return merged


def build_unet(channels: Sequence[int] = (24, 48, 80, 112, 144), width: int = 96) -> UNet2DConditionModel:
    """mini's UNet, untrained: few channels where pixels are many, attention on the two coarsest levels (of three or
    more), where light is decided.

    What words and environment say is also pooled and added to the timestep's embedding, which scales and shifts every
    level's features (FiLM, Perez et al. 2018): light falls on every pixel, not on the coarsest levels' few.

    Every residual branch begins at zero, so that at first the network only carries what it sees to where it is needed.
    """
    attending = min(2, len(channels) - 1)
    plain = len(channels) - attending
    unet = UNet2DConditionModel(
        sample_size=128,
        in_channels=INPUT_CHANNELS,
        out_channels=LATENTS,
        block_out_channels=tuple(channels),
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * attending,
        up_block_types=("CrossAttnUpBlock2D",) * attending + ("UpBlock2D",) * plain,
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=GROUPS,
        # A velocity is x_t minus a picture, both scaled by the timestep: timesteps must multiply, not only add.
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=max(1, width // HEAD),
    )
    parts: list[Any] = list(unet.modules())
    for part in parts:
        last = {"ResnetBlock2D": "conv2", "Transformer2DModel": "proj_out"}.get(type(part).__name__)
        if last:
            nn.init.zeros_(getattr(part, last).weight)
            nn.init.zeros_(getattr(part, last).bias)
    _init_pooling(unet.add_embedding)
    return unet


def _init_pooling(pooling: Any) -> None:
    """Say little at first, and look at the environment's tokens (`init_tokens`) where there are some.

    As initialised, all heads average all tokens, and the environment's three drown among eighty words.
    """
    nn.init.constant_(pooling.norm2.weight, POOLING_GAIN)
    pool = pooling.pool
    for projection in (pool.q_proj, pool.k_proj):
        nn.init.normal_(projection.weight, std=1 / projection.in_features**0.5)
    with torch.no_grad():
        pool.q_proj.bias.copy_(pool.k_proj.weight @ _marker(pool.k_proj.in_features))


def _marker(width: int) -> Tensor:
    """Added to the environment's tokens, so that attention can tell them from words: a fixed vector of +1 and -1."""
    return torch.randint(0, 2, (width,), generator=torch.Generator().manual_seed(width)).float() * 2 - 1


@torch.no_grad()
def init_tokens(tokens: EnvironmentEncoder, maps: Tensor, random: torch.Generator) -> None:
    """Initialise the tokens' first layer by Nx3x32x32 environments, so that tokens differ where light does.

    The compressed maps are nearly all the same: bright above nought everywhere. Through layers initialised blindly, and
    the norm at the end, all environments give nearly the same tokens, and a network learns to ignore them sooner than
    it learns to read them. Here the first layer takes the mean away and looks at the maps' principal components, their
    scales evened out halfway.
    """
    numbers = compressed(maps)
    mean = numbers.mean(0)
    apart = (numbers - mean).double()
    # Of the maps among themselves, which are fewer than their numbers: N x N, not 3072 x 3072.
    values, along = torch.linalg.eigh(apart @ apart.T / len(apart))
    count = min(COMPONENTS, len(apart) - 1)
    spread = values[-count:].clamp(min=1e-9).sqrt()
    components = apart.T @ along[:, -count:] / (spread * len(apart) ** 0.5)
    basis = (components * spread.rsqrt() / spread.mean().sqrt()).float()
    mix = torch.randn(tokens.inner.out_features, count, generator=random)
    weight = (mix / mix.norm(dim=1, keepdim=True)) @ basis.T
    tokens.inner.weight.copy_(weight)
    tokens.inner.bias.copy_(-weight @ mean)
    for layer in (tokens.middle, tokens.outer):
        nn.init.kaiming_normal_(layer.weight, 0.2, generator=random)
        nn.init.zeros_(layer.bias)
    nn.init.ones_(tokens.norm.weight)
    tokens.norm.bias.copy_(_marker(tokens.width))


@torch.enable_grad()
def fit_merge(
    merge: nn.Module, whole: Tensor, first: Tensor, second: Tensor, random: torch.Generator
) -> tuple[float, float]:
    """Fit the merging MLP to pictures as they are, before the network learns from it; its mean squared error before
    and after.

    `whole`, `first`, `second`: Nx4 latents of N places under L1 + L2, L1 and L2.

    How latents add is the autoencoder's affair, not the network's: an MLP that begins as the mean of both is off by
    half of the latents' variance, and the consistency term would pull the network after it for the thousands of
    steps it takes to learn otherwise.
    """
    optimiser = torch.optim.Adam(merge.parameters(), lr=MERGE_RATE)

    def off(places: Tensor) -> Tensor:
        # A 1 x 4 x N x 1 picture: convolutions are slow on N pictures of one place.
        one, two, both = (latents[places].T[None, :, :, None] for latents in (first, second, whole))
        return (merge(one, two) - both).square().mean()

    before = float(off(torch.randint(len(whole), (8 * MERGE_PLACES,), generator=random)).detach())
    for step in range(MERGE_STEPS):
        optimiser.param_groups[0]["lr"] = MERGE_RATE * (1 - step / MERGE_STEPS)
        optimiser.zero_grad()
        off(torch.randint(len(whole), (MERGE_PLACES,), generator=random)).backward()
        optimiser.step()
    optimiser.zero_grad()
    return before, float(off(torch.randint(len(whole), (8 * MERGE_PLACES,), generator=random)).detach())


def build_text_encoder(tokenizer: CLIPTokenizer, width: int = 96) -> CLIPTextModel:
    """A two-layer CLIP text model, untrained."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config)
    with torch.no_grad():
        # CLIP starts words at a hundredth of their final size; minutes of training would not bring them up.
        encoder.get_input_embeddings().weight.mul_(10)
    return encoder
