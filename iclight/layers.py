"""Light layers: what a relighting did to a picture, as a file, to be put on another export of the same picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .gains import Light

Floats = NDArray[np.float32]

# A light layer's gains reach this many stops either way (16-bit files hold them so).
STOPS = 8.0


def save_layer(light: Light, path: str | Path) -> None:
    """Write a light to a file: .exr (float, linear gains) or .png (16 bits: 32768 is no change, 4096 a stop).

    Red, green and blue are gains, alpha is the matte. Raises ImageError for other endings.
    """
    target = Path(path)
    if target.suffix.lower() == ".png":
        coded = np.clip(light.gain * (32768 / STOPS) + 32768, 0, 65535)
        coded = np.concatenate([coded[..., ::-1], light.matte * 65535], axis=2)
        kept, buffer = cv2.imencode(".png", (coded + 0.5).astype(np.uint16))
        assert kept
        target.write_bytes(buffer.tobytes())
    elif target.suffix.lower() == ".exr":
        import OpenEXR

        channels = {"RGBA": np.concatenate([np.exp2(light.gain), light.matte], axis=2).astype(np.float32)}
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, channels) as file:
            file.write(str(target))
    else:
        raise ImageError(f"A light layer is a .png (16 bits) or an .exr, not {target.name}.")


def read_layer(path: str | Path) -> Light:
    """A light from its file. Raises ImageError when the file is none; NaN and infinite gains count as no change."""
    source = Path(path)
    try:
        if source.suffix.lower() == ".exr":
            import OpenEXR

            with OpenEXR.File(str(source)) as file:
                values = np.asarray(file.channels()["RGBA"].pixels, np.float32)
            gain = np.log2(np.where(np.isfinite(values[..., :3]), values[..., :3], 1).clip(2**-STOPS, 2**STOPS))
            matte = np.nan_to_num(values[..., 3:], nan=0, posinf=1, neginf=0).clip(0, 1)
        else:
            coded = cv2.imdecode(np.fromfile(source, np.uint8), cv2.IMREAD_UNCHANGED)
            if coded is None or coded.dtype != np.uint16 or coded.ndim != 3 or coded.shape[2] != 4:
                raise ValueError("not a 16-bit RGBA picture")
            gain = (coded[..., 2::-1].astype(np.float32) - 32768) * (STOPS / 32768)
            matte = coded[..., 3:].astype(np.float32) / 65535
    except Exception as error:  # OpenEXR and OpenCV raise undocumented types on broken files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImageError(f"{source.name} is not a light layer ({reason}); give a file that iclight saved.") from error
    return Light(np.ascontiguousarray(gain, np.float32), np.ascontiguousarray(matte, np.float32))
