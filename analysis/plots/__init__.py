"""Figures of run tables for papers and slides, as SVG, PDF or PNG."""

from analysis.plots.kinds import FIGURES, KINDS, PlotSelection, draw, drawing
from analysis.plots.save import save
from analysis.plots.sheet import Sheet

__all__ = ["FIGURES", "KINDS", "PlotSelection", "Sheet", "draw", "drawing", "save"]
