"""Slurm itself: the seam to its commands, and their output as values."""
