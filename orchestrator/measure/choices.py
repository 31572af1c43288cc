"""What a server chose by itself, as columns of its runs and part of their condition."""

from collections.abc import Mapping
from typing import Any

from catalog.plain_text import plain
from catalog.secrets import redact
from orchestrator.engine import Figure
from orchestrator.results.quantities import CHOICES

LONGEST = 400


def choice_figures(details: Mapping[str, Any]) -> dict[str, Figure]:
    """The columns that a server's details hold; any other name would be of its own choice."""
    chosen = details.get("chosen")
    if not isinstance(chosen, Mapping):
        return {}
    return {
        name: redact(plain(str(chosen[name])))[:LONGEST]
        for name in CHOICES
        if chosen.get(name) not in (None, "")
    }
