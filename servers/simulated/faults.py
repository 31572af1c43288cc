"""Ways in which the simulated server can be told to fail, so that failures can be tested."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from catalog.errors import BadValue, UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """None is «does not happen»; counts of tokens are over all requests unless said otherwise."""

    exit_at_start: int | None = None
    """Leave with this code before listening."""
    slow_start_s: float = 0.0
    never_ready: bool = False
    """`/health` answers 200, completions hang."""
    die_after_tokens: int | None = None
    """Leave with code 0 once so many tokens are out, as vLLM does when its engine dies."""
    hang_after_tokens: int | None = None
    """Go on answering `/health`, but give no more tokens."""
    cut_after_tokens: int | None = None
    """Close the connection after so many tokens of each request."""
    error_after_tokens: int | None = None
    """Send an error object in the 200 stream after so many tokens of each request."""
    no_done: bool = False
    no_usage: bool = False
    usage_off_by: int = 0
    fail_every: int | None = None
    """Answer every n-th request with 503."""
    slow_factor: float = 1.0
    """Multiply every step time."""
    dead_rank: int | None = None
    """This data-parallel rank never gets a request."""
    ignore_term: bool = False
    wrong_layout: bool = False
    """Report another layout in the log than the one that was asked for."""
    tokens_per_event: int = 1


FORM = "NAME or NAME=VALUE, as in --fault die-after-tokens=100"
_TYPES = {each.name.replace("_", "-"): each for each in fields(Faults)}


def parse_faults(texts: Sequence[str]) -> Faults:
    """Read `--fault` values."""
    given: dict[str, bool | int | float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        field = _TYPES.get(name)
        if field is None:
            raise UnknownName("fault", name, _TYPES)
        flag = field.type is bool
        if flag == bool(equals):
            raise BadValue("fault", text, FORM)
        try:
            number = float(value) if value else 1.0
        except ValueError:
            raise BadValue("fault", text, FORM) from None
        given[field.name] = flag or (number if "float" in str(field.type) else int(number))
    return Faults(**given)  # type: ignore[arg-type]  # each value has its field's type by now
