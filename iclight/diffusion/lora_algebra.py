"""What each kind of LoRA adds to a weight, as the papers and LyCORIS define it; every sum in float32.

A layer's `parts` are its tensors by their short names (`down`, `up`, `hada_w1_a`, ...). On meta tensors the same lines
check the shapes, before any weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

Parts = Mapping[str, torch.Tensor]


def plain(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """LoRA (Hu et al. 2021), of convolutions too (LoCon), with a Tucker core in the middle where there is one."""
    down, up = parts["down"], parts["up"]
    if "mid" not in parts:
        return up.flatten(1) @ down.flatten(1)
    return torch.einsum("oa,ab...,bi->oi...", up.flatten(1), parts["mid"], down.flatten(1))


def loha(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """LoHa (Hyeon-Woo et al. 2022): the product, number by number, of two low-rank matrices."""
    halves = []
    for half in "12":
        up, down = parts[f"hada_w{half}_a"], parts[f"hada_w{half}_b"]
        core = parts.get(f"hada_t{half}")
        halves.append(up @ down.flatten(1) if core is None else torch.einsum("ij...,jr,ip->pr...", core, down, up))
    return halves[0] * halves[1]


def lokr(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """LoKr (Yeh et al. 2023): a Kronecker product; either factor may be of low rank itself."""
    first, second = (_factor(parts, f"lokr_{half}") for half in ("w1", "w2"))
    return torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - first.ndim)), second.contiguous())


def _factor(parts: Parts, name: str) -> torch.Tensor:
    if name in parts:
        return parts[name]
    up, down, core = parts[f"{name}_a"], parts[f"{name}_b"], parts.get(name.replace("_w", "_t"))
    if core is not None:
        return torch.einsum("ij...,ip,jr->pr...", core, up, down)
    return (up @ down.flatten(1)).reshape(-1, *down.shape[1:])


def full(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """The difference itself."""
    return parts["diff"]


def norm(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """The difference of a normalisation's weight (LyCORIS)."""
    return parts["w_norm"]


def ia3(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """(IA)3 (Liu et al. 2022): a factor for each row or column."""
    return weight * parts["weight"].reshape(*parts["weight"].shape, *[1] * (weight.ndim - parts["weight"].ndim))


def oft(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """OFT (Qiu et al. 2023): rows rotated in blocks, by the Cayley transform of a skew-symmetric matrix.

    `alpha`, where above zero, bounds the rotation: |Q| may be alpha x rows. `rescale` is a factor for each row.
    """
    blocks = parts["oft_blocks"]
    count, size, _ = blocks.shape
    skew = blocks - blocks.transpose(1, 2)
    bound = parts.get("alpha", torch.zeros(())) * len(weight)
    length = skew.norm() + 1e-8
    skew = torch.where((bound > 0) & (length > bound), skew * bound / length, skew)
    eye = torch.eye(size, device=blocks.device)
    rotation = (eye + skew) @ torch.linalg.inv(eye - skew)
    turned = torch.einsum("knm,kn...->km...", rotation, weight.reshape(count, size, *weight.shape[1:]))
    turned = turned.reshape(weight.shape)
    rescale = parts.get("rescale", torch.ones((), device=blocks.device))
    return turned * rescale - weight


# Kind: the parts by which it is known, its algebra, the part whose first side is its rank.
KINDS: dict[str, tuple[frozenset[str], Callable[[torch.Tensor, Parts], torch.Tensor], tuple[str, ...]]] = {
    "LoRA": (frozenset({"down", "up", "mid"}), plain, ("down",)),
    "LoHa": (
        frozenset({f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")}),
        loha,
        ("hada_w1_b",),
    ),
    "LoKr": (
        frozenset({f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t1", "t2")}),
        lokr,
        ("lokr_w1_b", "lokr_w2_b"),
    ),
    "OFT": (frozenset({"oft_blocks", "rescale"}), oft, ()),
    "(IA)3": (frozenset({"weight", "on_input"}), ia3, ()),
    "a full difference": (frozenset({"diff"}), full, ()),
    "a norm's difference": (frozenset({"w_norm"}), norm, ()),
}
# The tensors that change a layer's bias, under their short names: added as they are.
BIASES = ("diff_b", "b_norm")
# Beside any kind.
COMMON = ("alpha", "dora_scale", "magnitude")


def kind_of(parts: Parts | Mapping[str, object]) -> str | None:
    """The kind of a layer's tensors, a key of `KINDS`; None where they are of none, or of two."""
    held = set(parts) - set(COMMON) - set(BIASES)
    return next((kind for kind, (names, _, _) in KINDS.items() if held and held <= names), None)


def change(weight: torch.Tensor, parts: Parts, scale: float, ratio: float | None = None) -> torch.Tensor:
    """The weight (float32) with a layer's change at `scale`.

    `ratio`: alpha over rank where the file's own tensors do not say it. Raises RuntimeError, ValueError, KeyError or
    IndexError where shapes do not fit one another or the weight.
    """
    kind = kind_of(parts)
    assert kind is not None
    _, algebra, ranked = KINDS[kind]
    delta = algebra(weight, parts)
    if len(delta) != len(weight) or delta.numel() != weight.numel():
        raise ValueError(f"it changes {tuple(delta.shape)}, the weight is {tuple(weight.shape)}")
    delta = delta.reshape(weight.shape)
    rank = next((parts[name].shape[0] for name in ranked if name in parts), None)
    if rank and "alpha" in parts:
        delta = delta * (parts["alpha"].reshape(()) / rank)
    elif rank and ratio is not None:
        delta = delta * ratio
    if "magnitude" in parts or "dora_scale" in parts:
        delta = _decomposed(weight + delta, parts) - weight
    return weight + scale * delta


def _decomposed(weight: torch.Tensor, parts: Parts) -> torch.Tensor:
    """DoRA (Liu et al. 2024): the weight's direction, at a length for each row (PEFT) or column (some of LyCORIS)."""
    if "magnitude" in parts:
        length = parts["magnitude"].reshape(len(weight), *[1] * (weight.ndim - 1))
    else:
        length = parts["dora_scale"]
        length = length.reshape(*length.shape, *[1] * (weight.ndim - length.ndim))
        if length.shape not in (_lengths(weight, 0), _lengths(weight, 1)):
            raise ValueError(f"its dora_scale is {tuple(length.shape)}, the weight {tuple(weight.shape)}")
    side = 0 if length.shape == _lengths(weight, 0) else 1
    others = [k for k in range(weight.ndim) if k != side]
    return weight * (length / torch.linalg.vector_norm(weight, dim=others, keepdim=True).clamp_min(1e-12))


def _lengths(weight: torch.Tensor, side: int) -> torch.Size:
    return torch.Size(count if k == side else 1 for k, count in enumerate(weight.shape))
