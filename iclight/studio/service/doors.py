"""Under which names a page is served, and which requests another site's page makes a browser send."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .requests import Scope

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")
HOST = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Doors:
    """Which names a page is served under.

    `names`: host names without a port. `addresses`: any literal IP address as well, which no foreign site can make a
    browser use as a name. `all_names`: on a Space, whose own front decides. `share`: the share link's address, once
    there is one.
    """

    names: frozenset[str] = frozenset(LOCAL_NAMES)
    addresses: bool = False
    all_names: bool = False
    share: Callable[[], str | None] = field(default=lambda: None)

    @classmethod
    def of(
        cls, host: str, allowed: Iterable[str] = (), space: bool = False, share: Callable[[], str | None] = lambda: None
    ) -> Doors:
        """The doors of a server that listens on `host` and was told to answer to the names `allowed`."""
        names = {name.lower().rstrip(".") for name in (*LOCAL_NAMES, *allowed)}
        if host not in EVERYWHERE:
            names.add(host.lower().strip("[]"))
        return cls(frozenset(names), host in EVERYWHERE, space, share)

    def knows(self, name: str) -> bool:
        """Whether the page is served under a host name."""
        if self.all_names or name in LOCAL_NAMES or self.names_itself(name):
            return True
        if self.addresses:
            with contextlib.suppress(ValueError):
                return bool(ipaddress.ip_address(name))
        return False

    def names_itself(self, name: str) -> bool:
        """Whether a name is the page's own and nobody else's: given by whoever started it, or the share link's."""
        shared = self.share()
        if shared and name == urlsplit(shared).hostname:
            return True
        own = self.names.difference(LOCAL_NAMES)
        return name in own or any(known.startswith("*.") and name.endswith(known[1:]) for known in own)


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers by their names in lower case; several cookies are one."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}; {text}" if name == "cookie" and name in headers else text
    return headers


def _split(host: str) -> tuple[str, int | None]:
    """Name and port of a Host header, both as browsers write them: ("", None) for anything else."""
    match = HOST.fullmatch(host)
    if match is None:
        return "", None
    name = (match["name"] or match["address"]).lower().rstrip(".")
    return name, int(match["port"]) if match["port"] else None


def name_of(host: str) -> str:
    return _split(host)[0]


def is_foreign(headers: dict[str, str], doors: Doors, is_page: bool) -> bool:
    """Whether another site's page makes the browser ask. Programs name no origin; a link may lead to a page."""
    origin = headers.get("origin")
    if origin is None:
        by_link = is_page and headers.get("sec-fetch-mode", "").lower() == "navigate"
        return headers.get("sec-fetch-site", "").lower() == "cross-site" and not by_link
    scheme, _, rest = origin.partition("://")
    default = {"http": 80, "https": 443}.get(scheme)
    own, (name, port) = _split(headers.get("host", "")), _split(rest)
    if default is None or not name:
        return True
    # A Host header leaves the scheme's own port out, and does not say which scheme that is.
    if name == own[0]:
        return (port or default) != (own[1] or default)
    # Behind a proxy that hands on another Host, the page's own origin is a name that it was told to answer to.
    return port is not None or not doors.names_itself(name)


def cookies_of(headers: dict[str, str]) -> dict[str, str]:
    from starlette.requests import cookie_parser  # what Gradio reads them with

    return cookie_parser(headers.get("cookie", ""))
