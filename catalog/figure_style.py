"""How every figure looks: colours, and settings of matplotlib's `rc_context`."""

from typing import Any

# Okabe and Ito, Color Universal Design (2008): told apart with every common colour blindness.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#B8A800", "#666666"

FIGURE_SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.constrained_layout.use": True,
    # Text stays text: searchable, and no glyph outlines in the file.
    "svg.fonttype": "none",
    "svg.hashsalt": "moeserve",
}
"""What figures are both made and written with."""
