"""Matting networks of nested U-blocks and nothing else: `BriaRMBG` (an IS-Net) and `U2NetP` (U²-Net, small)."""

from .rmbg import BriaRMBG
from .u2net import U2NetP

__all__ = ["BriaRMBG", "U2NetP"]
