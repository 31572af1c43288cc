"""How a model is served: layouts over GPUs, techniques, and the server's arguments for both."""

from strategies.layout import ALL, STANDARD, Layout
from strategies.parse import parse_layout, parse_layouts
from strategies.technique import Technique, parse_technique, parse_techniques

__all__ = [
    "ALL",
    "STANDARD",
    "Layout",
    "Technique",
    "parse_layout",
    "parse_layouts",
    "parse_technique",
    "parse_techniques",
]
