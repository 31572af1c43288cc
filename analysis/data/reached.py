"""Loads that were really in flight: a level that was not reached is no level."""

import numpy as np
import pandas as pd

from analysis.data.conditions import cells, condition_columns
from analysis.data.order import ordered, shown

NOT_REACHED = "CONCURRENCY_NOT_REACHED"
ASKED = "asked_concurrency"


def reached(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Put what was in flight for the concurrency asked for, and count a condition's copies once.

    With n prompts no more than n requests are in flight: closed loops of 32, 64 and 128 over 20
    prompts are one condition of 20, measured three times on the same servers. Of each block the
    run with the lowest label stays. `asked_concurrency` keeps the label.
    """
    if "max_concurrency" not in frame or ASKED in frame:
        return frame, ()
    short = not_reached(frame)
    if not short.any():
        return frame, ()
    asked = frame["max_concurrency"].astype(float)
    made = frame.assign(**{ASKED: asked, "max_concurrency": _in_flight(frame, asked, short)})
    unit = [name for name in ("block", "replicate") if name in made][:1]
    # A count of prompts that follows the load belongs to the label, not to what was in flight.
    names = [*condition_columns(made, but=(ASKED,)), "max_concurrency", *unit]
    cell = pd.Series(cells(made, names), index=made.index)
    lowest = asked.groupby(cell).transform("min")
    copies = (asked > lowest) & (short | short.groupby(cell).transform("any"))
    return made[~copies], _notes(made, short, copies)


def asked_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say that loads which were not reached count as levels of their own."""
    short = not_reached(frame) if "max_concurrency" in frame else pd.Series(dtype=bool)
    if not short.any():
        return ()
    return (
        f"{int(short.sum())} runs did not reach their max_concurrency ({NOT_REACHED}) and count "
        "as if they had, as in the paper: several of them are one condition under several labels",
    )


def not_reached(frame: pd.DataFrame) -> pd.Series:
    """Closed loops with fewer prompts than the concurrency asked for."""
    short = pd.Series(False, index=frame.index)
    if "num_prompts" in frame and pd.api.types.is_numeric_dtype(frame["num_prompts"]):
        short |= frame["num_prompts"] < frame["max_concurrency"]
    if "verdict_notes" in frame:
        short |= frame["verdict_notes"].astype(str).str.contains(NOT_REACHED, regex=False)
    if "request_rate" in frame:
        short &= frame["request_rate"].isna()
    return short & frame["max_concurrency"].notna()


def _in_flight(frame: pd.DataFrame, asked: pd.Series, short: pd.Series) -> pd.Series:
    """The prompts there are; where they are unknown, the lowest label that was not reached."""
    prompts = frame["num_prompts"] if "num_prompts" in frame else pd.Series(np.nan, frame.index)
    others = [name for name in ("model", "strategy", "workload") if name in frame]
    cell = pd.Series(cells(frame, others), index=frame.index)
    lowest = asked.where(short).groupby(cell).transform("min")
    known = prompts.astype(float).fillna(lowest)
    return asked.where(~short, np.minimum(asked, known))


def _notes(made: pd.DataFrame, short: pd.Series, copies: pd.Series) -> tuple[str, ...]:
    notes = []
    for load in ordered(made.loc[short, "max_concurrency"]):
        labels = made.loc[short & (made["max_concurrency"] == load), ASKED]
        listed = ", ".join(shown(label) for label in ordered(labels))
        left = int((copies & (made["max_concurrency"] == load)).sum())
        counted = f"; counted once, {left} runs left out" if left else ""
        notes.append(
            f"max_concurrency {listed} was not reached ({NOT_REACHED}): {shown(load)} requests "
            f"were in flight, so this is one condition{counted}"
        )
    return tuple(notes)
