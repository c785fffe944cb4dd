"""A hub on the loopback, for the real client to talk to: folders served as repositories, faults on demand.

with HubStandIn() as hub:
    hub.add_repo("owner/name", folder)      # or {"path": b"bytes"}
    os.environ["HF_ENDPOINT"] = hub.endpoint
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_ENDINGS = (".safetensors", ".bin", ".pth", ".ckpt")
COMMIT = "1234567890abcdef1234567890abcdef12345678"


@dataclass(frozen=True)
class Request:
    """One request as it came in; `range` and `token` are the headers' values or ""."""

    method: str
    path: str
    range: str
    token: str


@dataclass
class Repo:
    """A repository: its files by path, the commit that "main" names, and whether other full commits are known too."""

    files: dict[str, bytes | Path]
    commit: str = COMMIT
    any_commit: bool = True
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def content(self, name: str) -> bytes:
        source = self.files[name]
        return source if isinstance(source, bytes) else source.read_bytes()

    def facts(self, name: str) -> dict[str, Any]:
        """Size, git id and, for large files, sha256, as the hub lists them."""
        if name not in self.known:
            data = self.content(name)
            facts: dict[str, Any] = {
                "size": len(data),
                "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
            }
            if name.endswith(LFS_ENDINGS):
                facts["sha256"] = hashlib.sha256(data).hexdigest()
            self.known[name] = facts
        return self.known[name]

    def resolve(self, revision: str) -> str | None:
        if revision in ("main", self.commit):
            return self.commit
        return revision if self.any_commit and re.fullmatch(r"[0-9a-f]{40}", revision) else None


class HubStandIn:
    """The server. Faults name a file by its path in the repository and, but for `refuse`, happen as often as asked."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.refused: dict[str, tuple[int, bool]] = {}
        self.drops: dict[str, tuple[int, int]] = {}
        self.stalls: dict[str, int] = {}
        self.corrupt: dict[str, int] = {}
        self.ignore_range = False
        self.expired: set[str] = set()  # tokens that are answered by 401 whatever they ask for
        self.terse = False  # listings without sizes and hashes, as some mirrors give them
        self.stalled = threading.Event()
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.server.block_on_close = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> HubStandIn:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def add_repo(
        self,
        repo_id: str,
        source: Path | Mapping[str, bytes | Path],
        *,
        commit: str = COMMIT,
        any_commit: bool = True,
    ) -> Repo:
        """Serve a folder, or a mapping of paths to bytes or files, as `repo_id`."""
        if isinstance(source, Path):
            source = {p.relative_to(source).as_posix(): p for p in sorted(source.rglob("*")) if p.is_file()}
        self.repos[repo_id] = Repo(dict(source), commit, any_commit)
        return self.repos[repo_id]

    def refuse(self, repo_id: str, status: int, *, files_only: bool = False) -> None:
        """Answer 401, 403, 404 or 5xx for a repository; with `files_only`, still list it, as gated ones do."""
        self.refused[repo_id] = (status, files_only)

    def drop(self, name: str, after: int, times: int = 1) -> None:
        """Cut the connection after so many bytes of a file."""
        self.drops[name] = (after, times)

    def stall(self, name: str, after: int) -> None:
        """Send so many bytes of a file, then nothing more, once; `stalled` is set when that point is reached."""
        self.stalls[name] = after

    def corrupt_once(self, name: str, times: int = 1) -> None:
        """Flip a byte of a file on its way."""
        self.corrupt[name] = times

    def fetched(self, name: str = "") -> list[Request]:
        """The GET requests for files, or for one file."""
        return [r for r in self.requests if r.method == "GET" and "/resolve/" in r.path and r.path.endswith(name)]


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        headers = self.headers
        self.hub.requests.append(
            Request(self.command, self.path, headers.get("Range", ""), headers.get("Authorization", ""))
        )
        if headers.get("Authorization", "").removeprefix("Bearer ") in self.hub.expired:
            self._refuse(401, "")
            return
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?", path):
            self._api(match[1], match[2] or "revision", match[3] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        else:
            self._refuse(404, "")

    def _repo(self, repo_id: str, revision: str, *, is_file: bool) -> tuple[Repo, str] | None:
        status, files_only = self.hub.refused.get(repo_id, (0, False))
        if status and (is_file or not files_only):
            gated = "GatedRepo" if status in (401, 403) else "RepoNotFound" if status == 404 else ""
            self._refuse(status, gated)
            return None
        repo = self.hub.repos.get(repo_id)
        if repo is None:
            self._refuse(401, "RepoNotFound")  # what the hub tells strangers about repositories that are not there
            return None
        commit = repo.resolve(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return None
        return repo, commit

    def _api(self, repo_id: str, what: str, revision: str) -> None:
        if (found := self._repo(repo_id, revision, is_file=False)) is None:
            return
        repo, commit = found
        entries = [(name, repo.facts(name)) for name in repo.files]
        if what == "tree":
            tree = [{"type": "file", "path": name, **_lfs(facts, "oid")} for name, facts in entries]
            self._json(tree)
            return
        if self.hub.terse:
            entries = [(name, {"size": None, "oid": None}) for name, _ in entries]
        siblings = [{"rfilename": name, "blobId": facts["oid"], **_lfs(facts, "sha256")} for name, facts in entries]
        self._json({"id": repo_id, "modelId": repo_id, "sha": commit, "tags": [], "siblings": siblings})

    def _file(self, repo_id: str, revision: str, name: str) -> None:
        if (found := self._repo(repo_id, revision, is_file=True)) is None:
            return
        repo, commit = found
        if name not in repo.files:
            self._refuse(404, "EntryNotFound")
            return
        data, facts = repo.content(name), repo.facts(name)
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not self.hub.ignore_range:
            start = int(wanted[1])
            if start >= len(data):
                self._refuse(416, "")
                return
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{facts.get("sha256", facts["oid"])}"')
        if "sha256" in facts:
            self.send_header("X-Linked-Etag", f'"{facts["sha256"]}"')
            self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self._send(name, data, start)

    def _send(self, name: str, data: bytes, start: int) -> None:
        hub = self.hub
        with hub.lock:
            drop, times = hub.drops.get(name, (0, 0))
            hub.drops[name] = (drop, times - 1)
            stall = hub.stalls.pop(name, None)
            spoil = hub.corrupt.get(name, 0) > 0
            hub.corrupt[name] = hub.corrupt.get(name, 0) - 1
        if spoil:
            data = data[:-1] + bytes([data[-1] ^ 1])
        end = start + drop if times > 0 else stall if stall is not None else len(data)
        try:
            self.wfile.write(data[start:end])
            if stall is not None:
                hub.stalled.set()
                hub.closing.wait(30)
        except OSError:
            pass
        if end < len(data):
            self.close_connection = True
            self.connection.close() if stall is not None else self._cut()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"stand-in says {code}")
        self.send_header("Content-Length", "0")
        self.end_headers()


def _lfs(facts: dict[str, Any], hash_name: str) -> dict[str, Any]:
    listed: dict[str, Any] = {"size": facts["size"]}
    if hash_name == "oid":
        listed["oid"] = facts["oid"]
    if "sha256" in facts:
        listed["lfs"] = {hash_name: facts["sha256"], "size": facts["size"], "pointerSize": 134}
    return listed
