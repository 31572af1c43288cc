"""The optional part this package needs, asked for in one line when it is missing."""

from importlib.util import find_spec

from catalog.errors import MissingExtra

PARTS = ("scipy", "statsmodels", "matplotlib", "jinja2")


def need_extra(what: str) -> None:
    """Raise MissingExtra unless every library of the analysis is installed."""
    if any(find_spec(name) is None for name in PARTS):
        raise MissingExtra(what, "analysis")
