"""Figures of run tables for papers and slides, as SVG or PNG."""

from analysis.plots.kinds import KINDS, View, draw
from analysis.plots.save import save

__all__ = ["KINDS", "View", "draw", "save"]
