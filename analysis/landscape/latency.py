"""The time of a whole answer, from the time to its first token and the time per token.

L = TTFT + n · TPOT for an answer of n tokens: equation 1 of «Navigating the Design Space of MoE
LLM Inference Optimization».
"""

import re

import pandas as pd

from analysis.data.order import ordered, shown
from analysis.data.read import is_empty
from analysis.data.source_location import source_of
from analysis.landscape.units import unit_of
from catalog.errors import BadFile

LATENCY = "latency_s"
_EQUATION = "TTFT + n·TPOT"
_FIRST = re.compile(r"(?:mean_|avg_)?(?:ttft|time_to_first_token)")
_EACH = re.compile(r"(?:mean_|avg_)?(?:tpot|time_per_output_token)")
_UNIT = re.compile(r"[\s_(\[]{1,4}(?:ns|us|µs|ms|s)\s{0,4}[)\]]?$")


def with_latency(frame: pd.DataFrame, output_len: int) -> pd.DataFrame:
    """Add `latency_s`, in seconds, of answers of so many tokens; unknown where a part of it is."""
    if LATENCY in frame:
        problem = f"has a column {LATENCY!r} already: it cannot be derived with --output-len, too"
        raise BadFile(source_of(frame), problem)
    first, each = parts_of(frame)
    return frame.assign(
        **{LATENCY: _seconds(frame, first) + output_len * _seconds(frame, each)},
    )


def latency_notes(frame: pd.DataFrame, output_len: int) -> tuple[str, ...]:
    """What `latency_s` is made of, and what it takes for granted."""
    first, each = parts_of(frame)
    notes = [
        f"{LATENCY} = {first} + {output_len} · {each} (equation 1 of «Navigating the Design Space "
        f"of MoE LLM Inference Optimization»); the last token comes {output_len - 1} intervals "
        "after the first, one TPOT sooner"
    ]
    lengths = [shown(level) for level in ordered(frame.get("output_len", pd.Series(dtype=float)))]
    if lengths and lengths != [str(output_len)]:
        listed = ", ".join(lengths[:4]) + (", …" if len(lengths) > 4 else "")
        notes.append(f"its times were measured with output_len {listed}, not {output_len}")
    return tuple(notes)


def parts_of(frame: pd.DataFrame) -> tuple[str, str]:
    """The columns of the mean times to the first token and per token."""
    first, each = _found(frame, "mean_ttft_ms", _FIRST), _found(frame, "mean_tpot_ms", _EACH)
    missing = [way for way in (first[1], each[1]) if way]
    if missing:
        raise BadFile(source_of(frame), f"{LATENCY} = {_EQUATION}: {' and '.join(missing)}")
    return first[0], each[0]


def _found(frame: pd.DataFrame, usual: str, pattern: re.Pattern[str]) -> tuple[str, str]:
    """The column of the run table, else the one named so with a unit of time; or what is amiss."""
    named = [name for name in map(str, frame) if pattern.fullmatch(_UNIT.sub("", name.lower()))]
    timed = [name for name in named if (unit := unit_of(name)) and "ms" in unit.scale]
    if usual in timed or len(timed) == 1:
        return (usual if usual in timed else timed[0]), ""
    if timed:
        return "", f"{' and '.join(timed)} are both there, keep one"
    plain = f"{usual.split('_')[1]}_s"
    way = f" (--column '{named[0]}={usual}' says that {named[0]} is in ms)" if named else ""
    return "", f"no column {usual} or {plain}{way}"


def _seconds(frame: pd.DataFrame, name: str) -> pd.Series:
    if is_empty(frame[name]) or not pd.api.types.is_numeric_dtype(frame[name]):
        problem = "is empty: no row has a value" if is_empty(frame[name]) else "holds text"
        raise BadFile(source_of(frame), f"{LATENCY} = {_EQUATION}: column {name!r} {problem}")
    unit = unit_of(name)
    assert unit is not None  # `parts_of` takes columns with one
    return frame[name] * unit.scale[unit.of]
