"""A page in a process of its own, as a user starts it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from golden_data import GOLDEN

ROOT = Path(__file__).parents[1]
# Seconds until a page that does not answer has failed to start: a machine may be busy with other things.
PATIENCE = 240
MODEL = ("--model", str(GOLDEN / "model"), "--device", "cpu", "--dtype", "float32", "--matting", "grabcut")


@dataclass(frozen=True)
class RunningPage:
    """`seconds`: from the start of the process to its first answer."""

    url: str
    seconds: float
    log: Path
    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    script: str, folder: Path, *options: str, asked: str = "", root: Path = ROOT, environment: Mapping[str, str] = {}
) -> Iterator[RunningPage]:
    """Start app.py, app_bg.py or "-m iclight serve" and stop it afterwards. Its temporary files go to `folder`.

    `asked`: the path that answers once it runs. `root`: the clone it is started in. `environment`: its own variables.
    """
    port, log = free_port(), folder / f"{script.split()[-1]}.log"
    usual = {"GRADIO_TEMP_DIR": str(folder / "gradio"), "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *script.split(), "--port", str(port), *options],
            cwd=root,
            env={**os.environ, **usual, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}/"
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url + asked, timeout=5).read()
                break
            if process.poll() is not None or time.perf_counter() - started > PATIENCE:
                raise RuntimeError(f"{script} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield RunningPage(url, time.perf_counter() - started, log, process)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
