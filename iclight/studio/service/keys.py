"""API keys: what a program shows in place of a login, `Authorization: Bearer KEY`."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping

from ...errors import SettingsError

VARIABLE = "ICLIGHT_API_KEY"
# Characters below which a key could be guessed by trying; wrong ones are not slowed down.
SHORTEST = 16


class Key:
    """The key that programs must show. Compared by its digest: how long that takes tells nothing about it."""

    def __init__(self, key: str) -> None:
        """Raises SettingsError for a key that could be guessed, or that no header can hold."""
        if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise SettingsError(
                "An API key takes at least {shortest} letters, digits and signs without spaces, for example what "
                "`openssl rand -hex 24` prints. It is read from --api-key or {variable}.",
                shortest=SHORTEST,
                variable=VARIABLE,
            )
        self._digest = _digest(key)

    @classmethod
    def of(cls, given: str | None) -> Key | None:
        """The key of --api-key, else of the environment; None where there is none."""
        key = given if given is not None else os.environ.get(VARIABLE) or None
        return None if key is None else cls(key)

    def fits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request's headers (names in lower case) show it."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(_digest(shown.strip()), self._digest)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
