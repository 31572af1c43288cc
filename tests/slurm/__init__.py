"""Slurm: in memory, and real."""
