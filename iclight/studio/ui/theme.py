"""How the page looks: paper and ink, one warm accent, and the system's own type, which has all its weights."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils import colors, sizes

# The system's faces, Latin before Chinese.
FONTS = (
    "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "PingFang SC",
    "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Zen Hei", "sans-serif",
)  # fmt: skip
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
# On every ground it is used on, text reaches a contrast of 4.5 to 1: `tests/studio/test_accessible.py` measures it.
ACCENT, ACCENT_DARK = "#9a4a06", "#f5a94a"


def theme() -> gr.themes.Base:
    """The page's theme, light and dark."""
    base = gr.themes.Base(
        primary_hue=colors.orange,
        neutral_hue=colors.stone,
        spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_md,
        text_size=sizes.text_md,
        font=FONTS,
        font_mono=MONO,
    )
    return base.set(
        body_background_fill="#faf9f7",
        body_background_fill_dark="#171412",
        body_text_color="#1f1b18",
        body_text_color_dark="#ece7e1",
        body_text_color_subdued="#5c544d",
        body_text_color_subdued_dark="#b3a99f",
        block_background_fill="#ffffff",
        block_background_fill_dark="#211d1a",
        block_border_color="#e4dfd9",
        block_border_color_dark="#38322d",
        border_color_primary="#d6d0c9",
        border_color_primary_dark="#453e38",
        block_label_background_fill="#ffffff",
        block_label_background_fill_dark="#211d1a",
        block_label_text_color="#4d453f",
        block_label_text_color_dark="#c9bfb5",
        block_title_text_color="#3b342f",
        block_title_text_color_dark="#ddd4ca",
        block_title_text_weight="500",
        block_label_text_weight="500",
        block_info_text_color="#5c544d",
        block_info_text_color_dark="#b3a99f",
        block_shadow="none",
        block_shadow_dark="none",
        input_background_fill="#ffffff",
        input_background_fill_dark="#191614",
        input_border_width="1px",
        input_border_color="#d6d0c9",
        input_border_color_dark="#453e38",
        input_placeholder_color="#6b625b",
        input_placeholder_color_dark="#a3988d",
        color_accent=ACCENT,
        color_accent_soft="#fbeedd",
        color_accent_soft_dark="#3a2a17",
        slider_color=ACCENT,
        slider_color_dark=ACCENT_DARK,
        checkbox_background_color_selected=ACCENT,
        checkbox_background_color_selected_dark=ACCENT,
        checkbox_border_color_selected=ACCENT,
        checkbox_border_color_selected_dark=ACCENT_DARK,
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_hover="#7d3b04",
        button_primary_background_fill_dark=ACCENT_DARK,
        button_primary_background_fill_hover_dark="#ffbe6b",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#1f1509",
        button_primary_border_color=ACCENT,
        button_primary_border_color_dark=ACCENT_DARK,
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#f1ede8",
        button_secondary_background_fill_dark="#2a2521",
        button_secondary_background_fill_hover_dark="#38322d",
        button_secondary_text_color="#3b342f",
        button_secondary_text_color_dark="#ece7e1",
        button_secondary_border_color="#d6d0c9",
        button_secondary_border_color_dark="#453e38",
        link_text_color=ACCENT,
        link_text_color_dark=ACCENT_DARK,
        link_text_color_hover="#7d3b04",
        link_text_color_hover_dark="#ffbe6b",
    )
