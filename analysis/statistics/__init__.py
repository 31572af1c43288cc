"""Intervals, effects, contrasts and designs: numbers in, numbers out."""
