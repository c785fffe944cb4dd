"""Turns the pages' functions into what Gradio binds: positional inputs named for the API, errors in words."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from typing import Any

import gradio as gr

from ...errors import Cancelled, IclightError
from .i18n import speaker, translate

TITLES = {"Cancelled": "Stopped", "ImageError": "Picture", "SettingsError": "Settings", "RecipeError": "Recipe"}


def title_of(error: IclightError) -> str:
    return TITLES.get(type(error).__name__, "Error")


def with_signature(function: Callable[..., Any], names: dict[str, Any]) -> Callable[..., Any]:
    """`function(request, **values)` as a function of the positional inputs Gradio passes, named for its API.

    `names` maps each input to its default, `...` for none. Gradio reads names and None defaults off the signature;
    writing thirty parameters out by hand would repeat the parameters.
    """

    def handler(*values: Any) -> Any:
        request, *inputs = values
        try:
            return function(request, **dict(zip(names, inputs, strict=True)))
        except IclightError as error:
            raise shown(error, request) from error

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("request", kind, annotation=gr.Request)]
    for name, default in names.items():
        parameters.append(inspect.Parameter(name, kind, default=inspect.Parameter.empty if default is ... else default))
    handler.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    handler.__annotations__ = {"request": gr.Request}
    handler.__name__ = function.__name__
    handler.__doc__ = function.__doc__
    return handler


def index_of(event: gr.SelectData) -> int:
    """Which of a gallery's pictures was clicked; -1 for an event that no gallery sent."""
    return event.index if isinstance(event.index, int) else -1


class Shown(gr.Error):
    """An error whose words may stand on a page as they are: HTML in them is escaped already."""


def shown(error: IclightError, request: gr.Request | None) -> Shown:
    """An error as the page shows it: it stays until it is closed, in the visitor's language."""
    say = speaker(request)
    # A page shows its errors as HTML; names and values in them come from files and requests.
    words = html.escape(translate(error, say), quote=False)
    # Who cancelled is told beside the buttons (`layout`), and is in no trouble.
    trouble = not isinstance(error, Cancelled)
    return Shown(words, duration=None, visible=trouble, title=say(title_of(error)), print_exception=False)
