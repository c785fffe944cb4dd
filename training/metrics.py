"""What is measured of relit pictures. Pictures are Bx3xHxW sRGB in [0, 1], mattes Bx1xHxW; B numbers come out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from iclight.imaging.colour import LUMINANCE, to_linear, to_srgb

SOLID = 0.9  # pixels with at least this much matte count as the subject
FLOOR = 0.004  # linear light below which stops say little
# Which axis (0 across, 1 down) and which sign of the asymmetry a side means.
SIGNS = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}


def luminance(pictures: Tensor) -> Tensor:
    """Bx1xHxW relative luminance, linear."""
    return torch.einsum("bchw,c->bhw", to_linear(pictures), pictures.new_tensor(LUMINANCE))[:, None]


def asymmetry(pictures: Tensor, matte: Tensor) -> Tensor:
    """Bx2: (right - left) / (right + left) and (bottom - top) / (bottom + top) of mean luminance inside the matte.

    Halves are cut at the matte's centre of mass.
    """
    light = luminance(pictures)
    height, width = pictures.shape[2:]
    x = torch.arange(width, device=pictures.device).float().view(1, 1, 1, -1)
    y = torch.arange(height, device=pictures.device).float().view(1, 1, -1, 1)
    ratios = []
    for place in (x, y):
        centre = (matte * place).sum((1, 2, 3), keepdim=True) / matte.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
        far, near = matte * (place > centre), matte * (place <= centre)
        one = (light * far).sum((1, 2, 3)) / far.sum((1, 2, 3)).clamp(min=1e-6)
        two = (light * near).sum((1, 2, 3)) / near.sum((1, 2, 3)).clamp(min=1e-6)
        ratios.append((one - two) / (one + two + 1e-4))
    return torch.stack(ratios, 1)


def towards(side: str, pictures: Tensor, matte: Tensor) -> Tensor:
    """B asymmetries in the direction of `side`: above 0 where that side is brighter."""
    axis, sign = SIGNS[side]
    return asymmetry(pictures, matte)[:, axis] * sign


def light_stops(left: Tensor, right: Tensor, matte: Tensor) -> Tensor:
    """B lights in stops: how much more a light from the left brightens the subject's left half than its right half.

    `left`, `right`: the pictures under a light from either side. Their ratio, as log2 of linear luminance, is averaged
    over each half of the matte, cut at its centre of mass; the subject's own bright and dark sides cancel out.
    """
    gain = torch.log2(luminance(left) + FLOOR) - torch.log2(luminance(right) + FLOOR)
    x = torch.arange(matte.shape[3], device=matte.device).float().view(1, 1, 1, -1)
    centre = (matte * x).sum((1, 2, 3), keepdim=True) / matte.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
    halves = [matte * (x <= centre), matte * (x > centre)]
    near, far = ((gain * half).sum((1, 2, 3)) / half.sum((1, 2, 3)).clamp(min=1e-6) for half in halves)
    return near - far


def burnt(pictures: Tensor, matte: Tensor) -> Tensor:
    """B shares in [0, 1] of the subject whose darkest channel is at least 254 of 255."""
    return _share(pictures.amin(1, keepdim=True) > 253.5 / 255, matte)


def black(pictures: Tensor, matte: Tensor) -> Tensor:
    """B shares in [0, 1] of the subject whose brightest channel is at most 1 of 255."""
    return _share(pictures.amax(1, keepdim=True) < 1.5 / 255, matte)


def _share(where: Tensor, matte: Tensor) -> Tensor:
    inside = matte > SOLID
    return (where & inside).float().sum((1, 2, 3)) / inside.float().sum((1, 2, 3)).clamp(min=1)


def shine_through(pictures: Tensor, source: Tensor, background: Tensor, matte: Tensor) -> Tensor:
    """B correlations of the background's high frequencies with those of the subject's log gain: 0 if none shows.

    High is what a blur of a 16th of the shorter side takes away: bars of a window, lamps, a horizon.
    """
    sigma = min(pictures.shape[2:]) / 16
    seen, hidden = (_high(luminance(x), sigma) for x in (pictures, background))
    return _correlation(seen - _high(luminance(source), sigma), hidden, matte > SOLID)


def psnr_inside(pictures: Tensor, truth: Tensor, matte: Tensor) -> Tensor:
    """PSNR in dB over the matte."""
    error = ((pictures - truth).square() * matte).sum((1, 2, 3)) / (3 * matte.sum((1, 2, 3))).clamp(min=1)
    return -10 * torch.log10(error.clamp(min=1e-10))


def ssim_inside(pictures: Tensor, truth: Tensor, matte: Tensor, side: int = 7) -> Tensor:
    """SSIM (Wang et al. 2004; uniform windows of `side` pixels, C1 = 0.01^2, C2 = 0.03^2), averaged over the matte."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, 1)

    samples = side * side / (side * side - 1)
    one, two = mean(pictures), mean(truth)
    var1 = (mean(pictures**2) - one**2) * samples
    var2 = (mean(truth**2) - two**2) * samples
    cov = (mean(pictures * truth) - one * two) * samples
    index = (2 * one * two + 1e-4) * (2 * cov + 9e-4) / ((one**2 + two**2 + 1e-4) * (var1 + var2 + 9e-4))
    reach = side // 2
    inside = (matte[..., reach:-reach, reach:-reach] > SOLID).float()
    return (index * inside).sum((1, 2, 3)) / (3 * inside.sum((1, 2, 3))).clamp(min=1)


def mean_matched(pictures: Tensor, like: Tensor, matte: Tensor, weights: Tensor | None = None) -> Tensor:
    """Pictures whose mean linear colour inside the matte is that of `like` (over `weights`, by default the matte)."""
    weights = matte if weights is None else weights
    light = to_linear(pictures)
    have = (light * matte).sum((2, 3), keepdim=True) / matte.sum((2, 3), keepdim=True).clamp(min=1e-6)
    want = (to_linear(like) * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return to_srgb(light * (want / have.clamp(min=1e-4)).clamp(0.05, 20))


def detail_correlation(pictures: Tensor, source: Tensor, matte: Tensor, sigma: float = 2.0) -> Tensor:
    """Correlation of the high frequencies (above a blur of `sigma` pixels) of log luminance, well inside the matte."""
    inner = 1 - F.max_pool2d(1 - matte, 7, 1, 3) > SOLID
    one, two = (_high(luminance(x), sigma) for x in (pictures, source))
    return _correlation(one, two, inner)


def chroma_correlation(pictures: Tensor, source: Tensor, matte: Tensor) -> Tensor:
    """Correlation of linear chromaticities (red and green shares) inside the matte."""
    inner = (matte > SOLID).expand(-1, 2, -1, -1)
    shares = []
    for x in (pictures, source):
        light = to_linear(x) + 0.01
        chroma = (light / light.sum(1, keepdim=True))[:, :2]
        centre = (chroma * matte).sum((2, 3), keepdim=True) / matte.sum((2, 3), keepdim=True).clamp(min=1e-6)
        shares.append(chroma - centre)
    return _correlation(shares[0], shares[1], inner, centred=True)


def geometry_correlation(
    pictures: Tensor, source: Tensor, matte: Tensor, normal: Tensor, light: Tensor, sigma: float = 3.0
) -> Tensor:
    """Does the light follow the shape? Correlation of the log gain with n.l after a plane was fitted to both.

    The gain is the ratio of blurred linear luminances; a ramp laid over the picture is a plane in the log and scores
    about 0.

    `normal`: Bx3xHxW unit vectors; `light`: Bx3 (or 3) unit directions.
    `sigma`: of the blur, in pixels.
    """
    ratio = [
        gaussian_blur(luminance(x) * matte, sigma) / gaussian_blur(matte, sigma).clamp(min=1e-3)
        for x in (pictures, source)
    ]
    gain = torch.log((ratio[0] + 0.004) / (ratio[1] + 0.004))
    facing = torch.einsum("bchw,bc->bhw", normal, light.expand(len(pictures), 3))[:, None].clamp(min=0)
    inner = matte > SOLID
    return _correlation(_without_plane(gain, inner), _without_plane(gaussian_blur(facing, sigma), inner), inner)


def angular_error(normal: Tensor, truth: Tensor, matte: Tensor) -> Tensor:
    """Mean angle in degrees between unit normals inside the matte."""
    cosine = F.cosine_similarity(normal, truth, dim=1)[:, None].clamp(-1, 1)
    inside = (matte > SOLID).float()
    return (torch.rad2deg(torch.acos(cosine)) * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)


def additivity_error(first: Tensor, second: Tensor, whole: Tensor, matte: Tensor) -> Tensor:
    """|I(L1) + I(L2) - I(L1 + L2)| in linear light over the matte, relative to the mean of I(L1 + L2)."""
    one, two, sum_ = (to_linear(x) for x in (first, second, whole))
    # What a picture cannot show (above white) is no error of addition.
    gap = ((one + two).clamp(max=1) - sum_).abs()
    return (gap * matte).sum((1, 2, 3)) / (sum_ * matte).sum((1, 2, 3)).clamp(min=1e-6)


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """BxCxHxW blurred with edges held; `sigma` in pixels."""
    reach = max(1, round(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=x.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel, groups=x.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=x.shape[1])


def _high(light: Tensor, sigma: float) -> Tensor:
    log = torch.log(light + 0.02)
    return log - gaussian_blur(log, sigma)


def _without_plane(field: Tensor, inner: Tensor) -> Tensor:
    """Bx1xHxW minus its least-squares plane over the places `inner`."""
    height, width = field.shape[2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([x, y, torch.ones_like(x)], -1).to(field.device)
    flat = []
    for one, where in zip(field[:, 0], inner[:, 0], strict=True):
        a, b = basis[where], one[where][:, None]
        plane = torch.linalg.lstsq(a.double(), b.double()).solution.float() if len(a) > 3 else basis.new_zeros(3, 1)
        flat.append(one - (basis @ plane)[..., 0])
    return torch.stack(flat)[:, None]


def _correlation(one: Tensor, two: Tensor, where: Tensor, centred: bool = False) -> Tensor:
    values = []
    for a, b, inside in zip(one, two, where, strict=True):
        p, q = a[inside], b[inside]
        if not centred:
            p, q = p - p.mean(), q - q.mean()
        scale = p.norm() * q.norm()
        values.append((p @ q) / scale if len(p) > 50 and scale > 1e-8 else torch.tensor(float("nan")))
    return torch.stack([value.cpu() for value in values])
