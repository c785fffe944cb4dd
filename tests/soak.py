"""A served page under ten minutes of visitors (`make soak`): a table, and exit status 1 if something was lost or grew.

Four clients send requests, one after the other: most are decent, some are cancelled, some hang up, 5 % are hostile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from attacks import API, TOY, Visitor, png
from pages import MODEL, RunningPage, running

# Of a hundred requests.
HOSTILE, CANCELLED, HUNG_UP = 5, 10, 10
# Memory, open and temporary files are compared from here on, as a share of the requests: caches are full by then.
WARM = 0.2
MOST_GROWTH = 1.10
# Files come and go with the requests that run at the moment.
FEW_FILES = 10


@dataclass
class Tally:
    """What became of the requests, and what the server held meanwhile: (requests, MB, open files, drafts)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    held: list[tuple[int, float, int, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, outcome: str, wrong: str = "") -> None:
        with self.lock:
            self.outcomes[outcome] += 1
            if wrong:
                self.wrong.append(f"{outcome}: {wrong}")

    @property
    def done(self) -> int:
        return sum(self.outcomes.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0, help="stop after so long, however many were sent")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally = Tally()
    with (
        tempfile.TemporaryDirectory(prefix="iclight-soak-") as folder,
        running("app.py", Path(folder), *MODEL) as site,
    ):
        started, end = time.monotonic(), time.monotonic() + 60 * options.minutes
        share = options.requests // options.clients
        clients = [
            threading.Thread(target=visit, args=(site.url, random.Random(options.seed + number), share, end, tally))
            for number in range(options.clients)
        ]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            tally.held.append((tally.done, *held_by(site)))
            time.sleep(1)
        seconds = time.monotonic() - started
        last = Visitor(site.url)
        kind, said = last.ask(image=last.file(png()))
        tally.held.append((tally.done, *held_by(site)))
        if kind != "complete":
            tally.count("the last request", json.dumps(said)[:300])
    return report(tally, seconds)


def visit(url: str, chance: random.Random, count: int, end: float, tally: Tally) -> None:
    """One client's requests."""
    for _ in range(count):
        if time.monotonic() > end:
            return
        visitor, roll = Visitor(url), chance.randrange(100)
        try:
            if roll < HOSTILE:
                attack(visitor, chance, tally)
            elif roll < HOSTILE + CANCELLED:
                leave(visitor, chance, tally, cancel=True)
            elif roll < HOSTILE + CANCELLED + HUNG_UP:
                leave(visitor, chance, tally, cancel=False)
            else:
                behave(visitor, chance, tally)
        except Exception as error:  # whatever happens to one request, the others go on, and it is told
            tally.count("stumbled", repr(error)[:300])
        finally:
            visitor.http.close()


def behave(visitor: Visitor, chance: random.Random, tally: Tally) -> None:
    size = chance.choice([(48, 48), (200, 150), (90, 160), (640, 480)])
    colour = tuple(chance.randrange(256) for _ in range(3))
    kind, said = visitor.ask(
        image=visitor.file(png(colour, size)),
        light=chance.choice(["left", "right", "top", "none"]),
        finish=chance.choice(["model", "native", "detail"]),
        seed=chance.randrange(1000),
        matting=chance.choice(["none", "u2netp", "grabcut"]),
    )
    full = kind == "503"
    tally.count(
        "refused, the queue was full" if full else "answered", "" if full or kind == "complete" else str(said)[:300]
    )


def leave(visitor: Visitor, chance: random.Random, tally: Tally, cancel: bool) -> None:
    """Begin a long request, then cancel it or hang up."""
    data = visitor.inputs("relight", **{**TOY, "image": visitor.file(png()), "steps": 30})
    begun = visitor.http.post(f"{API}/call/relight", json={"data": data, "session_hash": visitor.session})
    if begun.status_code != 200:
        tally.count("refused, the queue was full", "" if begun.status_code == 503 else begun.text[:300])
        return
    with contextlib.suppress(httpx.ReadTimeout):
        url = f"{API}/call/relight/{begun.json()['event_id']}"
        with visitor.http.stream("GET", url, timeout=chance.uniform(0.05, 1.0)) as lines:
            for _ in lines.iter_lines():
                break
    if cancel:
        visitor.run("cancel", [])
    tally.count("cancelled" if cancel else "hung up")


def attack(visitor: Visitor, chance: random.Random, tally: Tally) -> None:
    """Something that must be refused in words."""
    whole = png((1, 2, 3), (64, 64))
    broken = bytearray(whole)
    for _ in range(8):
        broken[chance.randrange(8, len(broken))] = chance.randrange(256)
    forged: list[Any] = [
        {"path": "/etc/passwd"},
        {"path": "/dev/zero"},
        {"url": "data:image/png;base64,AAAA"},
        visitor.file(b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n", "loop.png"),
        visitor.file(bytes(broken), "broken.png"),
        visitor.file(whole[: len(whole) // 2], "cut.png"),
        visitor.file(b"P6 90000 90000 255\n", "bomb.ppm"),
    ]
    kind, said = visitor.ask(image=chance.choice(forged))
    worded = kind == "503" or (kind == "error" and said.get("error")) or kind == "complete"  # some flips do no harm
    tally.count("hostile", "" if worded else str(said)[:300])
    if visitor.http.get("/config", headers={"host": "evil.example"}).status_code != 403:
        tally.count("hostile", "a foreign host was served")


def held_by(site: RunningPage) -> tuple[float, int, int]:
    """(MB of memory, open files, files on the disk) of the server."""
    process = Path("/proc") / str(site.process.pid)
    status = (process / "status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
    # Results are meant to stay for a day; what should not grow is what nobody asked for.
    folders = [
        folder for page in (site.log.parent / "gradio").glob("page-*") for folder in (page / "tmp", page / "files")
    ]
    drafts = sum(1 for folder in folders if folder.is_dir() for path in folder.rglob("*") if is_draft(path, folder))
    return memory, len(list((process / "fd").iterdir())), drafts


def is_draft(path: Path, folder: Path) -> bool:
    return path.is_file() and (folder.name == "tmp" or (path.parent == folder and path.name.startswith("tmp")))


def report(tally: Tally, seconds: float) -> int:
    """Print the table; 1 if something was lost or grew."""
    warm = [held for held in tally.held if held[0] >= WARM * tally.done]
    early, late = warm[: max(1, len(warm) // 5)], warm[-max(1, len(warm) // 5) :]

    def typical(part: list[tuple[int, float, int, int]], column: int) -> float:
        return sorted(float(held[column]) for held in part)[len(part) // 2]

    print(f"\n| what | of {tally.done} requests in {seconds / 60:.1f} minutes |\n| --- | --- |")
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"| {outcome} | {count} |")
    print(f"| lost, or refused without a word | {len(tally.wrong)} |")
    print("\n| the server holds | after the warm-up | at the end | |\n| --- | --- | --- | --- |")
    grew = False
    for column, name, most in ((1, "memory, MB", MOST_GROWTH), (2, "open files", 1.0), (3, "temporary files", 1.0)):
        first, then = typical(early, column), typical(late, column)
        grown = then > most * first + (0 if column == 1 else FEW_FILES)
        grew |= grown
        print(f"| {name} | {first:.0f} | {then:.0f} | {then / max(first, 1):.2f} x{', too much' if grown else ''} |")
    for line in tally.wrong[:20]:
        print(line, file=sys.stderr)
    return 1 if tally.wrong or grew else 0


if __name__ == "__main__":
    sys.exit(main())
