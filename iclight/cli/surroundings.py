"""What the shell a program was started from hands it: proxies, the page's variables, an address; mended, or refused in
words before a library trips over it."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from ..errors import SettingsError, quoted
from ..studio.service.doors import LOCAL_NAMES

PROXIES = tuple(name for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()))
SPOKEN = ("http", "https", "socks5", "socks5h")
# Gradio reads these as whole numbers: as soon as it is imported, or when it starts.
NUMBERS = {"GRADIO_SERVER_PORT": 65535, "GRADIO_NODE_SERVER_PORT": 65535, "GRADIO_NUM_PORTS": 65535, "GRADIO_DEBUG": 1}
NUMBERS["GRADIO_NUM_WORKERS"] = 64
FIRST_PORT = 7860


def mend_proxies(say: Callable[[str], None]) -> None:
    """Leave in this process's proxy variables what httpx and its like can read; `say` hears what was left out.

    A system proxy that swallows localhost breaks Gradio ("Expecting value: line 1 column 1"): both spellings of
    NO_PROXY end up with all that either had, and this machine's own names.
    """
    for name in PROXIES:
        if name not in os.environ:
            continue
        text = os.environ[name].strip()
        # Some desktops write socks:// for what everybody else calls socks5://.
        text = re.sub(r"^socks://", "socks5://", text, flags=re.IGNORECASE)
        if text and not _is_proxy(text):
            say(f"{name} is {quoted(text, 80)}, which names no proxy that is understood here ({', '.join(SPOKEN)}).")
            text = ""
        if text:
            os.environ[name] = text
        else:
            del os.environ[name]
    given = re.split(r"[,\s]+", ",".join(os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")))
    known = list(filter(None, given))
    if "*" in known:
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"  # only recognised while it stands alone
        return
    kept = [host for part in known for host in _host_of(part)]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(dict.fromkeys([*kept, *LOCAL_NAMES]))


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        return parts.scheme in SPOKEN and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets that do not close, a port that is none
        return False


def _host_of(part: str) -> Iterator[str]:
    """A part of NO_PROXY as httpx takes it: IPv6 bare, without the networks that it cannot read."""
    bare = part.replace("[", "").replace("]", "")
    try:
        network = ipaddress.ip_network(bare, strict=False)
    except ValueError:
        if re.fullmatch(r"[\w*.-]+(:\d{1,5})?", part):
            yield part
        return
    if network.version == 4:
        yield bare
    elif network.num_addresses == 1:
        yield str(network.network_address)


def check_variables() -> None:
    """Leave out Gradio's variables that are empty, as compose files write them; raise SettingsError for wrong ones."""
    for name in [name for name in os.environ if name.startswith("GRADIO_") and not os.environ[name].strip()]:
        del os.environ[name]
    for name, most in NUMBERS.items():
        text = os.environ.get(name, "0").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
            raise SettingsError(
                "{name} is {text}, but it takes a whole number up to {most}. Unset it, or give one.",
                name=name,
                text=quoted(text, 80),
                most=most,
            )


def port_number(text: str) -> int:
    """A port as argparse takes it; ArgumentTypeError outside 1 to 65535."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is no port: ports are whole numbers from 1 to 65535")
    return int(text)


def root_path(text: str) -> str:
    """The path, or address, under which a proxy serves the page; ArgumentTypeError for anything else."""
    parts = urlsplit(text)
    is_address = parts.scheme in ("http", "https") and bool(parts.netloc)
    if not (is_address or re.fullmatch(r"/[\w./~-]*", text)) or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{quoted(text, 80)} is no path like /light, or https://example.org/light")
    return text.rstrip("/")


def address_of(host: str | None, port: int | None) -> tuple[str, int | None]:
    """Host and port to listen on, as Gradio takes them, from the options and its variables.

    Raises SettingsError where this machine has no such address, or the port is taken or not ours to open.
    """
    host = (host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")).strip().strip("[]")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            "--host {host}: no address is known by that name. Use 127.0.0.1 for this machine alone, or 0.0.0.0 for all "
            "its networks.",
            host=quoted(host, 80),
        ) from error
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise _refused(host, port, error) from error
    return (f"[{host}]" if ":" in host else host), port


def _refused(host: str, port: int | None, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        return SettingsError(
            "Port {port} of {host} is taken: stop what listens there, give another --port, or leave it out for the "
            "first free one from {first}.",
            port=port,
            host=host,
            first=FIRST_PORT,
        )
    if error.errno == errno.EACCES:
        return SettingsError("Port {port} may not be opened by this user: give one from 1024.", port=port)
    return SettingsError(
        "--host {host} is no address of this machine ({reason}). Use 127.0.0.1 for this machine alone, or 0.0.0.0 for "
        "all its networks.",
        host=quoted(host, 80),
        reason=error.strerror,
    )
