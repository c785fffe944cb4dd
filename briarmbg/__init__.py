"""The matting network and nothing else: `BriaRMBG`, an IS-Net."""

from .network import BriaRMBG

__all__ = ["BriaRMBG"]
