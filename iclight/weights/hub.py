"""Fetching from a Hugging Face hub, and knowing afterwards that what lies on disk is what was published.

A repository's listing (sizes and hashes) comes first; every chosen file is received into a `.part` file that a later
run continues, checked, moved into place and noted in its folder's manifest, so that damage is noticed and mended.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import MESSAGE_LIMIT, WeightsError, first_line, plain, quoted
from .catalogue import gigabytes
from .manifest import check_safetensors, digest_of, read_json, remember, sha256_of, write_json

MANIFEST = ".iclight-manifest.json"
Say = Callable[[str], None]


class HubUnreachable(WeightsError):
    """No answer from the hub: no network, a timeout, its own trouble, or offline mode."""


class HubRefused(WeightsError):
    """The hub answered, but does not hand this over: gated, private, or not there."""


@dataclass(frozen=True)
class HubFile:
    """A file as a repository publishes it. `revision` is a commit; `size` in bytes; None where the hub does not say."""

    path: str
    repo: str
    revision: str
    size: int | None = None
    sha256: str | None = None
    blob_id: str | None = None

    def is_sound(self) -> bool:
        """Is every field of its type, and the path one inside a folder?"""
        texts = (self.path, self.repo, self.revision, self.sha256 or "", self.blob_id or "")
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.size, (int, type(None))):
            return False
        return not Path(self.path).is_absolute() and ".." not in Path(self.path).parts and "\0" not in self.path


def print_to_stderr(line: str) -> None:
    """The way lines are said when nobody gave a better one."""
    print(plain(line, MESSAGE_LIMIT), file=sys.stderr, flush=True)


# ---------------------------------------------------------------- surroundings


def endpoint() -> str:
    """The hub's address without a final slash: $HF_ENDPOINT, read now because the library reads it once, at import."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or "https://huggingface.co"


def offline() -> bool:
    """Whether $HF_HUB_OFFLINE (or $TRANSFORMERS_OFFLINE) forbids network use."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def cached(repo: str, revision: str, file: str) -> Path | None:
    """A file of a repository's revision in the hub's own cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    try:
        path = try_to_load_from_cache(repo, file, revision=revision)
    except (OSError, ValueError):  # ValueError: no name of a repository, a NUL, or a reference that is no text
        return None
    return Path(path) if isinstance(path, str) else None


# ---------------------------------------------------------------- manifests


def read_manifest(folder: Path, kind: str = "files") -> dict[str, HubFile]:
    """What was fetched into `folder` ("files"), or could be ("offered"), by path. A broken manifest counts as none."""
    try:
        data = read_json(folder / MANIFEST, "Delete it.")
        files = {str(name): HubFile(**entry) for name, entry in data.get(kind, {}).items()}
    except (WeightsError, TypeError, AttributeError):
        return {}
    # A manifest may have come with somebody's folder: it names files below that folder, or it does not count.
    return files if all(file.path == name and file.is_sound() for name, file in files.items()) else {}


def note(folder: Path, files: Iterable[HubFile], kind: str = "files") -> None:
    """Write `files` into the folder's manifest."""
    kinds = {name: read_manifest(folder, name) for name in ("files", "offered")}
    kinds[kind].update({file.path: file for file in files})
    write_json(folder / MANIFEST, {name: {p: asdict(f) for p, f in known.items()} for name, known in kinds.items()})


def check_files(folder: Path, names: Iterable[str], *, download: bool, say: Say) -> None:
    """Hold files against the manifest, or, where the user put them there, safetensors against their own header.

    What was fetched and is damaged now is fetched again, or a WeightsError if that cannot be.
    """
    manifest = read_manifest(folder)
    for name in names:
        path, file = folder / name, manifest.get(name)
        if file is None:
            if path.suffix.lower() == ".safetensors":
                check_safetensors(path)
            continue
        if not (wrong := _damage(path, file)):
            continue
        if not download:
            raise WeightsError(
                f"{path} {wrong}. Delete it and run again with the network up: it will be fetched again."
            )
        say(f"{path} {wrong}; fetching it again.")
        try:
            listing(file.repo, file.revision, folder)  # quick to fail; a fetch would try for seconds first
            fetch([file], folder, say=say)
        except WeightsError as error:
            raise WeightsError(
                f"{path} {wrong}, and it could not be fetched again: {error} Or replace that file with a good copy."
            ) from error


def _damage(path: Path, file: HubFile) -> str:
    """What is wrong with a file on the disk, in words; "" where it is what was published."""
    try:
        size = path.stat().st_size
        if file.size is not None and size != file.size:
            return f"is damaged: {size} bytes where {file.size} were published"
        if file.sha256 is not None and sha256_of(path) != file.sha256:
            return "was altered or damaged (its sha256 does not match)"
        # Small files have no sha256 in a listing, but git's own id, which is a sha1 over a header and the content.
        git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        if file.sha256 is None and file.blob_id and digest_of(path, git) != file.blob_id:
            return "differs from what was published"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return ""


# ---------------------------------------------------------------- fetching


def listing(repo: str, revision: str, folder: Path) -> dict[str, HubFile]:
    """A repository's files by path, at the commit that `revision` names now. `folder` is only named in messages."""
    _refuse_offline(repo, folder)
    from huggingface_hub import HfApi

    try:
        info = _with_token(
            lambda token: HfApi(endpoint=endpoint(), token=token).model_info(
                repo, revision=revision, files_metadata=True, timeout=10
            )
        )
        commit = info.sha or revision
        files = {}
        for entry in info.siblings or []:
            lfs: Any = entry.lfs or {}
            sha256, size = lfs.get("sha256"), lfs.get("size") or entry.size
            blob_id = None if sha256 else entry.blob_id
            files[entry.rfilename] = HubFile(entry.rfilename, repo, commit, size, sha256, blob_id)
        return files
    except Exception as error:
        raise explain(error, repo, revision, "", folder) from error


def fetch(files: Iterable[HubFile], folder: Path, *, say: Say) -> list[Path]:
    """Fetch files into `folder` under their own paths, check them and note them in the manifest.

    Raises HubUnreachable, HubRefused, or WeightsError (disk full, damaged twice in a row).
    """
    files = list(files)
    _check_space(files, folder)
    return [_fetch(file, folder, say) for file in files]


def _fetch(file: HubFile, folder: Path, say: Say) -> Path:
    from huggingface_hub.utils import WeakFileLock

    _refuse_offline(file.repo, folder)
    file = _completed(file)
    target = folder / file.path
    tag = (file.sha256 or file.blob_id or file.revision)[:12]
    part = target.with_name(f".{target.name}.{tag}.part")
    wrong = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(folder / ".iclight.lock"):
            if file.path in read_manifest(folder) and not _damage(target, file):
                return target  # another process was quicker
            for _ in range(2):
                _with_token(lambda token: _receive(file, part, token))
                if not (wrong := _damage(part, file)):
                    size, digest = part.stat().st_size, sha256_of(part)
                    os.replace(part, target)
                    remember(target, digest)
                    note(folder, [HubFile(file.path, file.repo, file.revision, size, digest)])
                    return target
                part.unlink()
                say(f"{file.path} {wrong}; trying once more.")
    except WeightsError:
        raise
    except Exception as error:
        raise explain(error, file.repo, file.revision, file.path, folder) from error
    raise WeightsError(
        f"{file.path} from {endpoint()}/{file.repo} {wrong}, twice in a row: something on the way alters it. "
        f"Try another network or mirror (HF_ENDPOINT), or put a good copy at {target}."
    )


def _completed(file: HubFile) -> HubFile:
    """A file whose listing gave no size (some mirrors leave it out) with what its own address says of it."""
    if file.size is not None:
        return file
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repo, file.path, revision=file.revision, endpoint=endpoint())
    try:
        said = _with_token(lambda token: get_hf_file_metadata(url, token=token, timeout=10))
    except Exception:  # the download itself will say what is wrong, in better words
        return file
    # Large files are tagged with their sha256, small ones with a git id.
    sha256 = said.etag if said.etag and re.fullmatch("[0-9a-f]{64}", said.etag) else None
    return replace(file, size=said.size, sha256=file.sha256 or sha256)


def _receive(file: HubFile, part: Path, token: str | bool) -> None:
    """Bring `part` to the file's full size, going on from what an earlier run left.

    Uses the library's `http_get` but not its `hf_hub_download`, which in 2.x throws partial files away when a process
    ends.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(file.repo, file.path, revision=file.revision, endpoint=endpoint())
    # Uncompressed, because a Range counts bytes of what is sent.
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    while True:
        have = part.stat().st_size if part.exists() else 0
        if file.size is not None and have > file.size:
            part.unlink()
            have = 0
        try:
            with part.open("ab") as sink:
                name = file.path
                http_get(url, sink, resume_size=have, headers=headers, expected_size=file.size, displayed_filename=name)
            return
        except Exception as error:
            if _status(error) == 416:
                part.unlink()  # nothing lies beyond what we have: start over
            elif "Consistency check failed" in str(error):
                return  # the caller's check will say what is wrong
            elif not (_is_network(error) and part.stat().st_size > have):
                if part.stat().st_size == 0:
                    part.unlink()
                raise


def _check_space(files: list[HubFile], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WeightsError(
            f"{folder} cannot be written ({error.strerror or error}). Point ICLIGHT_MODELS at a folder that can."
        ) from error
    needed = sum(file.size or 0 for file in files)
    for file in files:
        needed -= sum(
            part.stat().st_size for part in (folder / file.path).parent.glob(f".{Path(file.path).name}.*.part")
        )
    if needed > free:
        raise _disk_full(folder, f"{gigabytes(needed)} are needed, {gigabytes(free)} are free")


# Tokens that the hub did not accept.
_refused_tokens: set[str] = set()


def _token() -> str | bool:
    from huggingface_hub import get_token

    token = get_token() or False
    return False if token in _refused_tokens else token


def _with_token(call: Callable[[str | bool], Any]) -> Any:
    """`call` with the user's token; without it where the hub does not accept that: an expired one would close what is
    open to all. (A token that is good but not enough is answered by 403.)"""
    token = _token()
    try:
        return call(token)
    except Exception as error:
        if not isinstance(token, str) or _status(error) != 401:
            raise
        _refused_tokens.add(token)
        print_to_stderr(f"{endpoint()} does not accept your token ({TOKEN_SOURCES}); going on without it.")
        return call(False)


TOKEN_SOURCES = "HF_TOKEN, or that of `hf auth login`"


# ---------------------------------------------------------------- in words


def explain(error: BaseException, repo: str, revision: str, name: str, folder: Path) -> WeightsError:
    """What went wrong between here and the hub, as a WeightsError that says what to do."""
    what = f"{repo}/{name}" if name else repo
    page = f"{endpoint()}/{repo}"
    by_hand = f"or put the files by hand into {folder}"
    status, kind = _status(error), type(error).__name__
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(folder, f"while fetching {what}")
    if status in (401, 403) and _refused_tokens:
        return HubRefused(
            f"{endpoint()} does not accept your token ({TOKEN_SOURCES}): renew it, or unset it. Without one it does "
            f"not hand out {what} either ({status}): gated, private, or a wrong name. See {page}; {by_hand}."
        )
    if kind == "GatedRepoError" or status in (401, 403):
        return HubRefused(
            f"{endpoint()} does not hand out {what} ({status or 'gated'}): gated, private, or a wrong name. "
            f"Open {page} in a browser, accept the licence there, then set HF_TOKEN or run `hf auth login`; {by_hand}."
        )
    if kind == "RevisionNotFoundError":
        return HubRefused(f"{repo} has no revision {quoted(revision)} at {endpoint()}. Check the name on {page}.")
    if status == 404:
        return HubRefused(f"{what} is not there (404). Check the name on {page}, {by_hand}.")
    if kind == "HFValidationError":
        return HubRefused(f"{quoted(repo)} is not a hub id; those look like owner/name.")
    if _is_network(error) or (status is not None and (status >= 500 or status in (408, 429))):
        reason = f"status {status}" if status else first_line(error)
        return HubUnreachable(
            f"The hub could not be reached: tried {endpoint()} for {what} ({reason}). Check the network and run again, "
            f"set HF_ENDPOINT to a mirror, {by_hand}."
        )
    if isinstance(error, ValueError) and status is None:
        return HubUnreachable(
            f"{endpoint()} answered with something that is no hub's answer; check HF_ENDPOINT and proxies, {by_hand}."
        )
    if isinstance(error, OSError) and error.filename:
        return WeightsError(
            f"{error.filename} cannot be written ({error.strerror}). Point ICLIGHT_MODELS at a folder that can."
        )
    return WeightsError(
        f"{what} could not be fetched from {endpoint()} ({kind}: {first_line(error)}). Run again, {by_hand}."
    )


def _refuse_offline(repo: str, folder: Path) -> None:
    if offline():
        raise HubUnreachable(
            f"{repo} is not on this disk, and HF_HUB_OFFLINE forbids fetching it. Unset HF_HUB_OFFLINE and run again, "
            f"or put the files by hand into {folder}."
        )


def _disk_full(folder: Path, detail: str) -> WeightsError:
    return WeightsError(
        f"The disk is full at {folder}: {detail}. Make room there, or point ICLIGHT_MODELS at a larger disk."
    )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_network(error: BaseException) -> bool:
    # By module name: the library speaks through requests, httpx or httpx2, depending on its version.
    spoken_by = type(error).__module__.split(".")[0]
    ours = spoken_by in {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"} and _status(error) is None
    return ours or isinstance(error, (ConnectionError, TimeoutError)) or type(error).__name__ == "OfflineModeIsEnabled"
