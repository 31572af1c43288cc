"""Units of columns and of limits: `gpu_memory_mib <= 16 GiB` compares like with like.

A column's unit is what its name ends with (`mean_ttft_ms`, `TTFT (ms)`, `achieved_gb_per_s`), or
what the run table says of it (`duration`). A unit is a quantity, over others: `s/token`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from catalog.errors import BadValue
from orchestrator.results.quantities import measure_of

_TIME = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SIZE = {
    "bytes": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15,
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40, "pib": 2.0**50,
}  # fmt: skip
_POWER = {"w": 1.0, "kw": 1e3}
_ENERGY = {"j": 1.0, "kj": 1e3, "wh": 3600.0, "kwh": 3.6e6}
_SHARE = {"%": 0.01}
_COUNTED = ("tokens", "requests", "gpus", "usd", "celsius")
_SCALES: tuple[Mapping[str, float], ...] = (
    _TIME, _SIZE, _POWER, _ENERGY, _SHARE, *({name: 1.0} for name in _COUNTED),
)  # fmt: skip
_SAME = {
    "µs": "us", "μs": "us", "msec": "ms", "msecs": "ms", "sec": "s", "secs": "s", "second": "s",
    "seconds": "s", "minute": "min", "minutes": "min", "hour": "h", "hours": "h",
    "b": "bytes", "byte": "bytes", "watt": "w", "watts": "w", "joule": "j", "joules": "j",
    "pct": "%", "percent": "%", "token": "tokens", "tok": "tokens", "request": "requests",
    "req": "requests", "reqs": "requests", "gpu": "gpus", "$": "usd", "°c": "celsius",
}  # fmt: skip
_WRITTEN = {"kb": "kB", "w": "W", "kw": "kW", "j": "J", "kj": "kJ", "wh": "Wh", "kwh": "kWh",
            "gpus": "GPU", "usd": "USD", "tokens": "tokens"}  # fmt: skip
BINARY = {"kb": "KiB", "mb": "MiB", "gb": "GiB", "tb": "TiB", "pb": "PiB"}
"""What a decimal size may have been meant as."""
_BEHIND = re.compile(
    r"(_|\s|[(\[])\s{0,4}([^\W_]{1,24}(?:/[^\W_]{1,24}){0,4}|%|°c|\$)\s{0,4}[)\]]?$"
)
_NO_UNIT = frozenset({"_b", "_min", " b", " min"})
"""Endings that more often say billions, and a minimum."""
_A_TOKEN = re.compile(r"(?<![a-z0-9])(?:tpot|itl|time_per_output_token)(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class Unit:
    """A quantity's unit, over others: GB/s has `of` gb and `over` (s,)."""

    of: str
    over: tuple[str, ...] = ()

    @property
    def scale(self) -> Mapping[str, float]:
        """Every unit of the quantity, each in base units."""
        return next((scale for scale in _SCALES if self.of in scale), {self.of: 1.0})

    @property
    def has_others(self) -> bool:
        """Whether a bare number could be in another unit just as well."""
        return len(self.scale) > 1 or self.of == "%"

    @property
    def below(self) -> str:
        return "".join(f"/{_singular(each)}" for each in self.over)

    @property
    def allowed(self) -> str:
        return ", ".join(f"{written(name)}{self.below}" for name in self.scale)


def written(name: str) -> str:
    """A unit as people write it: GiB, kB, W."""
    if name in _WRITTEN:
        return _WRITTEN[name]
    return f"{name[0].upper()}{name[1:-1]}B" if name in _SIZE and name != "bytes" else name


def _singular(name: str) -> str:
    return written(name).removesuffix("s") if len(name) > 1 else name


def unit_of(column: str) -> Unit | None:
    """The unit a column's values have; None where neither its name nor the run table tells."""
    name = column.strip().lower()
    found = _over_others(name) or _at_the_end(name)
    if found is None:
        measure = measure_of(column)
        found = _read(measure.unit) if measure else None
    if found and found.of in _TIME and not found.over and _A_TOKEN.search(name):
        return Unit(found.of, ("tokens",))
    return found


def _over_others(name: str) -> Unit | None:
    """`tokens_per_s_per_gpu`, where a unit stands before the first `per`."""
    before, _, over = name.partition("_per_")
    over_units = tuple(_one(word) for word in over.split("_per_"))
    return _unit(before.rpartition("_")[2], over_units) if over else None


def _at_the_end(name: str) -> Unit | None:
    match = _BEHIND.search(name)
    if match is None or match[0] in _NO_UNIT or name.endswith(f"_per{match[0]}"):
        return None
    return _read(match[2])


def _unit(of: str, over: tuple[str, ...] = ()) -> Unit | None:
    name = _one(of)
    return Unit(name, over) if any(name in scale for scale in _SCALES) else None


def _one(word: str) -> str:
    word = word.strip().lower()
    return _SAME.get(word, word)


def _read(text: str) -> Unit | None:
    """Read `ms`, `s/token`, `tokens/s/GPU` or `s per token`."""
    of, *over = re.split(r"/|\s{1,4}per\s{1,4}", text.strip())
    return _unit(of, tuple(_one(word) for word in over))


def in_column_unit(value: float, unit: str, column: str) -> float:
    """Convert a limit into the unit of a column; refuse a number that could be in several."""
    own = unit_of(column)
    what = f"limit on {column}"
    if not unit:
        if own is not None and own.has_others and value != 0:
            raise BadValue(what, f"{value:.15g}", _which(value, own))
        return value
    asked = _read(unit)
    if own is None and asked is not None and asked.of == "%":
        return value * _SHARE["%"]
    if own is None:
        raise BadValue(f"unit of a {what}", unit, _no_unit(column, unit))
    factor = _factor(asked, own) if asked else None
    if factor is None:
        raise BadValue(f"unit of a {what}", unit, own.allowed)
    return value * factor


def _factor(asked: Unit, own: Unit) -> float | None:
    """What a number in one unit is multiplied by to be in the other; None for other quantities.

    `2 s` for a column of seconds per token is 2 s/token: what a limit is over may go unsaid.
    """
    if asked.of not in own.scale or (asked.over and len(asked.over) != len(own.over)):
        return None
    factor = own.scale[asked.of] / own.scale[own.of]
    for mine, theirs in zip(own.over, asked.over, strict=False):
        scale = Unit(mine).scale
        if theirs not in scale:
            return None
        factor *= scale[mine] / scale[theirs]
    return factor


def _which(value: float, own: Unit) -> str:
    """What a bare number may have meant: GPUs have gibibytes, whatever the column is in."""
    units = [written(own.of)]
    if own.scale is _SIZE and not own.over and own.of != "gib" and abs(value) < 2**11:
        units.insert(0, "GiB")
    if own.of in ("ms", "s"):
        units.append("s" if own.of == "ms" else "ms")
    meant = " or ".join(f"{value:.15g} {each}{own.below}" for each in units)
    return f"a number with its unit ({own.allowed}): {meant}?"


def _no_unit(column: str, unit: str) -> str:
    plain = f"a plain number, since nothing says which unit {column!r} is in"
    if _read(unit) is None:
        return plain
    name = re.sub(r"\W+", "_", f"{column}_{unit.lower().replace('/', '_per_')}").strip("_")
    return f"{plain}; --column '{column}={name}' says that it is in {unit}"


def as_binary(unit: str, column: str) -> str | None:
    """The binary size that a decimal one may have been meant as; None where nothing is open.

    A column in decimal units settles it, and rates of bytes are decimal by custom.
    """
    own, asked = unit_of(column), _read(unit)
    if own is None or asked is None or asked.over or own.of in BINARY or own.of not in _SIZE:
        return None
    return BINARY.get(asked.of)
