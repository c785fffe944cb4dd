"""Handles that set a page's numbers: a dial for an angle, a spot that is dragged over the photo.

They hold no value of their own. `handles.js` moves the number fields whose ids they name, and follows them.
"""

from __future__ import annotations

import gradio as gr


def show_dial(target: str, label: str) -> None:
    """A dial for the angle in the number field of the element `target`: 0 right, 90 top, 180 left, 270 bottom."""
    gr.HTML(
        f'<div class="dial" data-for="{target}" role="slider" tabindex="0" aria-label="{label}" aria-valuemin="0"'
        ' aria-valuemax="360" aria-valuenow="180"><i></i></div>',
        elem_classes="handle",
        padding=False,
    )


def show_handles() -> None:
    """What lies over the photo: a dial around it for "angle", a spot on it for "spot"."""
    gr.HTML(
        '<div class="ring" data-for="knob-angle" role="slider" tabindex="0" aria-label="Angle of the light"'
        ' aria-valuemin="0" aria-valuemax="360" aria-valuenow="180"><i></i></div>'
        '<div class="spot" data-x="knob-spot_x" data-y="knob-spot_y" data-size="knob-spot_size" role="application"'
        ' tabindex="0" aria-label="Place of the spot: drag it, or use the arrow keys"><i></i></div>',
        elem_id="handles",
        padding=False,
    )
