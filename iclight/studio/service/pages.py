"""The page as Gradio sees it: what comes in with a request is looked at in one place, before any component or handler.

A request names its files by their paths, and may name any. `accept_files` lets those pass that were uploaded here, and
stores those that come inside of the request; it does not matter which component, named endpoint or event of the page
they are for.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import traceback
from typing import Any

import gradio as gr

from ...errors import ImageError, SettingsError, plain
from ...parameters import PARAMETERS
from ...weights.files import write_whole
from ..ui.endpoints import Shown, shown
from ..ui.i18n import english
from .guard import visitor_of
from .storage import Storage

# What programs leave open is the default of the workflow that they name, not what the page shows for its own.
OPEN = {name for name, parameter in PARAMETERS.items() if parameter.differing}


class Pages(gr.Blocks):
    """Blocks that take no file but the visitors' uploads, and whose API is described in English in every language."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(**options)
        self.storage = storage

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> dict[str, Any]:
        request = options.get("request")
        if not options.get("explicit_call"):
            try:
                # A file inside of the request takes a while to decode and write; other visitors do not wait for it.
                await asyncio.to_thread(
                    accept_files, inputs, self.storage, visitor_of(getattr(request, "client", None))
                )
            except ImageError as error:
                raise shown(error, request) from error
        try:
            return await super().process_api(block_fn, inputs, *args, **options)
        except gr.Error as error:
            if isinstance(error, Shown):
                raise
            # Gradio's own components quote what they were given, whole and as HTML.
            raise shown(SettingsError(plain(error.message)), request) from error
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            # A request that no page sends, or a fault of ours: whoever started the page finds it in the log.
            traceback.print_exc(limit=-3)
            raise shown(
                SettingsError("This request could not be answered ({kind}).", kind=type(error).__name__), request
            ) from error

    def get_api_info(self, *args: Any, **options: Any) -> Any:
        info = super().get_api_info(*args, **options)
        for endpoints in ("named_endpoints", "unnamed_endpoints"):
            for endpoint in (info or {}).get(endpoints, {}).values():
                for part in (*endpoint["parameters"], *endpoint["returns"]):
                    part["label"] = english(part["label"])
                for part in endpoint["parameters"]:
                    if part["parameter_name"] in OPEN:
                        part["parameter_default"] = None
                    elif part["type"] == {"type": "integer"} and part["parameter_default"]:
                        part["parameter_default"] = int(part["parameter_default"])  # the page has it as text
        return info


def accept_files(values: Any, storage: Storage, visitor: str) -> None:
    """Check every file that a request's values name, at any depth; those sent inside become files of `storage`.

    `values` as they were parsed from JSON; changed in place. Raises ImageError for a path that is no upload of this
    page, whether anything is there or not, and for a file inside the request that is no base64.
    """
    todo = [values]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            if _is_file(value):
                _accept(value, storage, visitor)
            todo += value.values()


def _is_file(value: dict[Any, Any]) -> bool:
    return any(value.get(key) is not None for key in ("path", "url"))


def _accept(file: dict[Any, Any], storage: Storage, visitor: str) -> None:
    url = file.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        file |= {"path": _stored(url, storage, visitor), "url": None}
    elif not isinstance(file.get("path"), str) or not storage.holds(file["path"]):
        raise ImageError("A file of this request was not uploaded here: upload it first, then name it by its path.")
    else:
        storage.used(file["path"], visitor)


def _stored(url: str, storage: Storage, visitor: str) -> str:
    """A file that came inside of the request, as one of the visitor's files; undecoded, but for its base64."""
    head, _, data = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("not base64")
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ImageError("The picture is not valid base64.") from error
    path = storage.root / f"{secrets.token_hex(16)}.img"
    write_whole(path, content)
    storage.keep(path, visitor)
    return str(path)
