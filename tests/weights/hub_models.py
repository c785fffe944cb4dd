"""What the tests of weights publish on their hub, and how they spoil it."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "model"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
FC, FBC = "iclight_sd15_fc.safetensors", "iclight_sd15_fbc.safetensors"
BASE = {p.relative_to(GOLDEN).as_posix(): p for p in GOLDEN.rglob("*") if p.is_file() and p.parent != GOLDEN}
BASE["model_index.json"] = GOLDEN / "model_index.json"
LITTER = {"big.ckpt": b"x", "safety_checker/model.safetensors": b"x", "README.md": b"hello"}


def safetensors(payload: bytes = b"\0" * 16) -> bytes:
    header = json.dumps({"x": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}}).encode()
    return struct.pack("<Q", len(header)) + header + payload


def dead_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def quiet(line: str) -> None:
    pass


def alter(path: Path) -> None:
    """Another last byte, same size, later mtime."""
    data = path.read_bytes()
    stat = path.stat()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
