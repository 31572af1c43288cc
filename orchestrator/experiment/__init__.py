"""What is asked: an experiment, its cells, and the servers they need."""

AUTO = "auto"
"""The engine of an experiment that names none: what suits the machine."""
