"""What people write when they mean something on a hub: an id, a file, an address out of a browser; read in one way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ..errors import WeightsError, quoted
from . import hub

_PART = r"[\w-][\w.-]*"
_REVISION = re.compile(r"refs/pr/\d+|[\w-][\w.-]*")
_ID = re.compile(rf"(?P<repo>{_PART}/{_PART})(@(?P<revision>[^/\s]+))?(/(?P<rest>\S+))?")
_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
# What a hub's pages put between a repository and a revision.
_VIEWS = ("tree", "blob", "resolve", "raw", "commit")
FILES = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class HubName:
    """A repository "owner/name", at a revision where one is named; or one file of it."""

    repo: str
    revision: str | None = None
    file: str | None = None

    @property
    def id(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")


def hub_name(text: str) -> HubName | None:
    """ "owner/name[@revision][/file]" or a page's address on the hub, as a name; None for anything else.

    Raises WeightsError for addresses elsewhere, from which nothing is fetched.
    """
    text = text.strip()
    address = re.match(r"https?://", text, re.IGNORECASE)
    if address:
        parts = urlsplit(text)
        if parts.netloc.lower() not in {*_HOSTS, urlsplit(hub.endpoint()).netloc.lower()}:
            raise WeightsError(
                f"{quoted(text)} is no address on {hub.endpoint()}, and nothing is fetched from elsewhere: download "
                "the file and give its path."
            )
        text = unquote(parts.path).removeprefix(urlsplit(hub.endpoint()).path.rstrip("/")).lstrip("/")
    match = _ID.fullmatch(text.rstrip("/"))
    if match is None:
        return None
    revision, file = match["revision"], match["rest"]
    view, _, behind = (file or "").partition("/")
    if view in _VIEWS and (behind or address):
        named = _REVISION.match(behind)
        if named is None or revision is not None:
            return None
        revision, file = named[0], behind[named.end() :].lstrip("/") or None
    if file is not None and (not file.endswith(FILES) or ".." in file.split("/")):
        return None
    if revision is not None and not _REVISION.fullmatch(revision):
        return None
    return HubName(match["repo"], None if revision == "main" and address else revision, file)
