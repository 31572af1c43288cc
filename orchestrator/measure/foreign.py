"""What is particular of a server that others run: its prompts, its names, what it does not show."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from orchestrator.engine import Figure
from workloads.load.text_prompts import TextPrompts

MOST_NAMES = 3


async def _nothing() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Foreign:
    """How a server that already runs is measured, and what is to be told of each of its runs."""

    served_model: str
    """The name it is asked for."""
    salt: int
    """Makes prompts that it has not seen, whatever was measured on it before."""
    texts: TextPrompts | None = None
    """Where prompts are text; None where they are token ids."""
    notes: tuple[str, ...] = ()
    stall_timeout_s: float | None = None
    shared_metrics: Callable[[], Awaitable[tuple[str, ...]]] = _nothing
    """Tells after a run whether its counters are those of several servers."""
    _names: dict[str, None] = field(default_factory=dict)
    """Which names the answers of the run have given."""

    def heard(self, name: str) -> None:
        self._names[name] = None

    def figures(self) -> dict[str, Figure]:
        """Return the columns that say who answered, and begin anew."""
        others = [name for name in self._names if name and name != self.served_model]
        self._names.clear()
        template = {} if self.texts is None else {"template_tokens": self.texts.template_tokens}
        return {
            "served_model": self.served_model,
            "answered_by": ", ".join(others[:MOST_NAMES]),
            **template,
        }
