"""A strip of small pictures to choose one of: buttons that tell their names, and whether they are chosen.

Nothing else lives here: Gradio writes a type stub beside any file that defines components.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

TEMPLATE = """<div class="strip" role="group" aria-label="${label}">${choices.map(([key, name, pictures, kind]) =>
  `<button type="button" data-key="${key}" class="${kind ?? ''}" aria-pressed="false">
  <span class="pictures">${pictures.map((picture) => `<img src="${picture}" alt="">`).join('')}</span>
  <span class="name">${name}</span></button>`).join('')}</div>"""
SCRIPT = """
const show = () => {
  for (const one of element.querySelectorAll('button')) {
    one.setAttribute('aria-pressed', String(one.dataset.key === props.value));
  }
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  props.value = props.value === button.dataset.key ? null : button.dataset.key;
  show();
  trigger('input');
});
watch('value', show);
watch('choices', show);
show();
"""
# Pixels of a picture's longer side on a strip, twice what is shown: screens have more than one to a dot.
SIDE = 144

# A choice: its key, its name as it is shown, its pictures as addresses, and a class of its own (where it is shown).
Choice = tuple[str, str, list[str], str]


class Strip(gr.HTML):
    """One of `choices` by its key, or None; what is chosen is let go by another click."""

    def __init__(
        self, choices: Sequence[Choice] = (), value: str | None = None, *, label: Any = "", **options: Any
    ) -> None:
        """`label`: the group's name for screen readers. A strip in an update carries what it changes alone."""
        self.choices = [list(choice) for choice in choices]
        super().__init__(
            value,
            label=label,
            html_template=TEMPLATE,
            js_on_load=SCRIPT,
            apply_default_css=False,
            choices=self.choices,
            **options,
        )

    def preprocess(self, payload: Any) -> Any:
        return payload or None

    def api_info(self) -> dict[str, Any]:
        return {"type": "string"}


def small(path: str | Path) -> str:
    """A picture's thumbnail as what an img's src takes."""
    from PIL import Image

    with Image.open(path, formats=("PNG", "JPEG")) as picture:
        picture.draft("RGB", (2 * SIDE, 2 * SIDE))
        shown = picture.convert("RGB")
        shown.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
