"""What a browser session has made: newest first, each picture with the settings that made it, two to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr

from ...errors import ImageError
from ...parameters import LIGHTS
from ..ui.i18n import Say, speaker
from ..ui.moods import MOODS
from . import outputs as outcome
from .guard import visitor_of
from .outputs import Shot
from .sessions import PerSession, session_of
from .storage import Storage

# Pictures kept for each session, and sessions kept.
KEPT, SESSIONS = 60, 64


@dataclass(frozen=True)
class Past:
    """`shots`: newest first. `latest`: those of the last relighting. `picked`: the last two clicked."""

    shots: tuple[Shot, ...] = ()
    latest: tuple[Shot, ...] = ()
    picked: tuple[Shot, ...] = ()


class History:
    """The histories of all sessions."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._past: PerSession[Past] = PerSession(SESSIONS)

    def add(self, session: str | None, shots: Sequence[Shot]) -> None:
        """A request's pictures, in their order."""

        def added(past: Past | None) -> Past:
            past = past or Past()
            latest = past.latest if any(shot.kind == "mix" for shot in shots) else tuple(shots)
            return replace(past, shots=(*shots, *past.shots)[:KEPT], latest=latest)

        self._past.change(session, added)

    def drop(self, session: str | None) -> None:
        self._past.drop(session)

    def of(self, session: str | None) -> Past:
        """What is still there: a visitor's oldest files make room for new ones."""
        past = self._past.get(session) or Past()
        return replace(past, shots=_still_there(past.shots), picked=_still_there(past.picked))

    # --- what the page and programs ask ----------------------------------------------------------------------------

    def listed(self, request: gr.Request) -> list[tuple[str, str]]:
        """The pictures of this session, newest first: the full-size PNGs, each with its settings in a few words."""
        say = speaker(request)
        return [(shot.path, caption(shot, say)) for shot in self.of(session_of(request)).shots]

    def thumbnails(self, request: gr.Request) -> list[tuple[str, str]]:
        """The same with thumbnails, for the page."""
        say = speaker(request)
        return [(shot.thumbnail, caption(shot, say)) for shot in self.of(session_of(request)).shots]

    def latest(self, request: gr.Request, index: int = 0) -> tuple[str, str] | None:
        """Before and after of one of the last request's pictures; None where there is no such picture."""
        latest = _still_there(self.of(session_of(request)).latest)
        return (latest[index].before, latest[index].after) if 0 <= index < len(latest) else None

    def of_last(self, request: gr.Request, index: int = 0) -> Shot:
        """One of the last request's pictures. Raises ImageError where there is no such picture."""
        latest = _still_there(self.of(session_of(request)).latest)
        if not 0 <= index < len(latest):
            raise ImageError("Click a picture first.")
        return latest[index]

    def pick(self, request: gr.Request, index: int) -> Shot:
        """A picture was clicked. Raises ImageError if it is no longer there."""
        shots = self.of(session_of(request)).shots
        if not 0 <= index < len(shots):
            raise ImageError("That picture is gone; open the History tab again.")
        shot = shots[index]
        self._past.change(
            session_of(request),
            lambda past: replace(past or Past(), picked=(*(past or Past()).picked, shot)[-2:]),
        )
        return shot

    def pair(self, request: gr.Request) -> tuple[str, str] | None:
        """The last two pictures clicked, at one size, for a slider; one clicked alone is shown with its photo."""
        picked = self.of(session_of(request)).picked
        if not picked:
            return None
        if len(picked) == 1 or picked[0] is picked[1]:
            return picked[-1].before, picked[-1].after
        return self._fit(request, picked[0].after, picked[1].after), picked[1].after

    def picked(self, request: gr.Request) -> Shot:
        """The picture clicked last. Raises ImageError if there is none."""
        picked = self.of(session_of(request)).picked
        if not picked:
            raise ImageError("Click a picture first.")
        return picked[-1]

    def _fit(self, request: gr.Request, path: str, other: str) -> str:
        """A picture at another's size: sliders want two of one size. The same file if it has it already."""
        from PIL import Image

        from ...imaging.images import read_image

        with Image.open(path, formats=("PNG",)) as first, Image.open(other, formats=("PNG",)) as second:
            if first.size == second.size:
                return path
            width, height = second.size
        folder = self.storage.new_folder(visitor_of(request.client))
        return outcome.save_plain(folder, "fitted", outcome.crop(read_image(path)[0], width, height))


def _still_there(shots: tuple[Shot, ...]) -> tuple[Shot, ...]:
    return tuple(shot for shot in shots if Path(shot.path).is_file())


def caption(shot: Shot, say: Say) -> str:
    """What tells a picture from its neighbours: its light and its seed, then its words."""
    settings = shot.settings
    if shot.kind == "mix":
        parts = [say("Mix")]
    else:
        mood = MOODS.get(str(shot.values.get("mood") or ""))
        parts = [say(mood.name)] if mood else []
        parts.append(say(LIGHTS[settings.workflow][settings.light]))
    parts.append(say("seed {seed}", seed=settings.seed))
    return " · ".join([*parts, *([str(shot.values["prompt"])[:60]] if shot.values.get("prompt") else [])])
