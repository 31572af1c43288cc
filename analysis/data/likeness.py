"""What a missing column may be called in a table of one's own."""

import re
import shlex
from collections.abc import Sequence

from catalog.errors import closest
from orchestrator.results.quantities import role_of

# Words that people use for a column of the run table.
KNOWN_AS = {
    "model": r"model|llm|checkpoint|network",
    "strategy": r"config|configuration|layout|parallel|setup|mapping|arm|strategy|sharding",
    "workload": r"workload|scenario|dataset|task|profile|use_?case|io|isl|traffic",
    "gpu_type": r"gpu|accelerator|device|hardware|card",
    "num_gpus": r"gpus|gpu_count|ngpu|num_devices|devices",
    "max_concurrency": r"concurrency|conc|users|streams|batch|clients|load",
    "request_rate": r"rate|qps|rps",
    "output_throughput": r"tput|throughput|tokens?_?(?:/|per_?)s\w*|tps|tok_s|output",
    "mean_ttft_ms": r"ttft|first_token",
    "mean_tpot_ms": r"tpot|per_output_token",
    "mean_itl_ms": r"itl|inter_token",
    "mean_e2el_ms": r"e2el?|latency|end_to_end",
}


def like(name: str, columns: Sequence[str]) -> list[str]:
    """Columns that a missing one may be meant by, the likeliest first; at most two."""
    near = closest(name, columns)
    near += [c for c, known_as in KNOWN_AS.items() if c in columns and _called(name, known_as)]
    words = KNOWN_AS.get(name)
    if words:
        pattern = re.compile(rf"(?<![a-z0-9])(?:{words})(?![a-z0-9])")
        near += [c for c in columns if pattern.search(c.lower().replace(" ", "_"))]
    return list(dict.fromkeys(near))[:2]


def _called(name: str, known_as: str) -> bool:
    """Whether people call a column by a name: `ttft`, `tput`."""
    return re.fullmatch(known_as, name.lower()) is not None


def said_missing(missing: Sequence[str], columns: Sequence[str]) -> str:
    """One sentence that names every missing column, each with what may be meant."""
    parts = [_one(name, like(name, columns), alone=len(missing) == 1) for name in missing]
    way = _way(missing, columns)
    if len(missing) == 1:
        return f"column {parts[0]}{way}"
    own = ", ".join(columns[:12]) + (", …" if len(columns) > 12 else "")
    return f"columns {', '.join(parts)} are missing; there are {own}{way}"


def _way(missing: Sequence[str], columns: Sequence[str]) -> str:
    """The flags that name a column of the run table in a table of one's own."""
    flags = [_flag(name, like(name, columns)) for name in missing if name in KNOWN_AS]
    known = " ".join(filter(None, flags))
    return f"; say {known}" if known else ""


def _flag(name: str, near: Sequence[str]) -> str:
    """A column to rename, or the same in all rows; what was measured is never the same."""
    if near:
        return f"--column {shlex.quote(f'{near[0]}={name}')}"
    return "" if role_of(name) == "measure" else f"--constant {name}=VALUE"


def _one(name: str, near: Sequence[str], *, alone: bool) -> str:
    meant = " or ".join(near)
    if alone:
        return f"{name!r} is missing" + (f" (did you mean {meant}?)" if near else "")
    return f"{name!r} ({f'did you mean {meant}?' if near else 'nothing is like it'})"
