"""What a result file does not say and the user does: model, layout, workload, hardware."""

from dataclasses import dataclass

import msgspec

from catalog.errors import BadValue
from strategies import Layout, parse_layout


@dataclass(frozen=True, slots=True)
class Labels:
    """Given by the user; they win over what the file says."""

    model: str = ""
    strategy: str = ""
    workload: str = ""
    gpu_type: str = ""

    @property
    def layout(self) -> Layout | None:
        return parse_layout(self.strategy) if self.strategy else None


def layout_of(tp: int | None, pp: int | None, dp: int | None, *, ep: bool) -> Layout | None:
    """A layout from degrees a file states; None when it states none."""
    if tp is None and pp is None and dp is None and not ep:
        return None
    try:
        return Layout(tp=tp or 1, pp=pp or 1, dp=dp or 1, ep=ep)
    except (BadValue, msgspec.ValidationError):
        return None
