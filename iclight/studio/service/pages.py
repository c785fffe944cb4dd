"""The page as Gradio sees it: what comes in with a request is looked at in one place, before any component or handler.

A request names its files by their paths, and may name any. `accept_files` lets those pass that were uploaded here, and
stores those that come inside of the request; it does not matter which component, named endpoint or event of the page
they are for. `check_given` looks at what goes out in the same way.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.blocks import Block

from ...errors import IclightError, ImageError, SettingsError, plain
from ...parameters import OPEN
from ...weights.files import write_whole
from ..ui.endpoints import Shown, shown
from ..ui.i18n import english
from .guard import visitor_of
from .storage import Storage

ASSETS = Path(__file__).parents[1] / "assets"
# Components that show or hand out the files that a handler names by their paths.
GIVING = (gr.Image, gr.ImageEditor, gr.Gallery, gr.File, gr.DownloadButton)


class Pages(gr.Blocks):
    """Blocks that take no file but the visitors' uploads, and whose API is described in English in every language.

    `stop`: ends what runs for a session.
    """

    def __init__(self, storage: Storage, **options: Any) -> None:
        super().__init__(**options)
        self.storage = storage
        self.stop: Callable[[str], None] = lambda session: None

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
        except IclightError as error:
            raise shown(error, request) from error
        except Exception as error:
            # A request that no page sends, or a fault of ours: whoever started the page finds it in the log.
            traceback.print_exc(limit=-3)
            raise shown(
                SettingsError("This request could not be answered ({kind}).", kind=type(error).__name__), request
            ) from error

    async def postprocess_data(self, block_fn: Any, predictions: Any, *args: Any, **options: Any) -> list[Any]:
        alone = len(block_fn.outputs) == 1
        check_given(block_fn.outputs, [predictions] if alone else predictions, self.storage)
        return await super().postprocess_data(block_fn, predictions, *args, **options)

    def get_api_info(self, *args: Any, **options: Any) -> Any:
        info = super().get_api_info(*args, **options)
        for endpoints in ("named_endpoints", "unnamed_endpoints"):
            for endpoint in (info or {}).get(endpoints, {}).values():
                for part in (*endpoint["parameters"], *endpoint["returns"]):
                    part["label"] = english(part["label"])
                for part in endpoint["parameters"]:
                    # What programs leave open is the default of the workflow that they name and of the model's card,
                    # not what the page begins with.
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


def check_given(outputs: Sequence[Any], values: Any, storage: Storage) -> None:
    """Raise ImageError where an answer would hand out a file that is neither of `storage` nor of the page's assets.

    Gradio itself gives whatever lies in the folder that the server was started in. `values`: a handler's, one for each
    of the components `outputs`.
    """
    for output, value in zip(outputs, values if isinstance(values, (list, tuple)) else (), strict=False):
        for path in _named(value) if isinstance(output, GIVING) else ():
            if not (storage.holds(path) or Path(path).resolve().is_relative_to(ASSETS)):
                raise ImageError("A file of this answer is not among the page's own, or no longer: make it again.")


def _named(value: Any) -> Iterator[str | Path]:
    """The paths in a handler's value for one of `GIVING`: alone, listed, before a caption, or in an update."""
    if isinstance(value, Block):
        yield from _named(value.constructor_args.get("value"))
    elif isinstance(value, SimpleNamespace):
        yield from _named(getattr(value, "value", None))
    elif isinstance(value, dict):
        yield from _named(value.get("value") if "__type__" in value else list(value.values()))
    elif isinstance(value, tuple):
        yield from _named(value[0] if value else None)
    elif isinstance(value, list):
        for one in value:
            yield from _named(one)
    elif isinstance(value, (str, Path)):
        yield value


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
