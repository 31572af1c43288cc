"""Figures of run tables for papers and slides, as SVG or PNG."""

from analysis.plots.kinds import KINDS, PlotSelection, draw, drawing
from analysis.plots.save import save

__all__ = ["KINDS", "PlotSelection", "draw", "drawing", "save"]
