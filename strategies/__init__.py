"""How a model is laid out over GPUs: parse, check, place, and the server's arguments."""

from strategies.layout import ALL, STANDARD, Layout
from strategies.parse import parse_layout, parse_layouts

__all__ = ["ALL", "STANDARD", "Layout", "parse_layout", "parse_layouts"]
