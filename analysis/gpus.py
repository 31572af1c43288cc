"""What a strategy ran on, in the words of a legend: `2 × A100-80GB`."""

import pandas as pd

MOST_KINDS = 2


def gpus_of(rows: pd.DataFrame) -> dict[str, str]:
    """Number and kind of GPUs of each strategy; "" where the rows do not say the number.

    A strategy that ran on several is given all of them, up to `MOST_KINDS`, and then their number.
    """
    if not {"strategy", "num_gpus"} <= set(rows):
        return {}
    made = {}
    for strategy, here in rows.groupby("strategy", sort=False):
        names = list(dict.fromkeys(_texts(here)))
        known = names if all(names) else []
        text = " or ".join(known) if len(known) <= MOST_KINDS else f"{len(known)} kinds of GPUs"
        made[str(strategy)] = text
    return made


def named(strategy: str, gpus: dict[str, str]) -> str:
    """Return a strategy as a legend has it: `tp+ep, 4 × H100`."""
    text = gpus.get(strategy, "")
    return f"{strategy}, {text}" if text else strategy


def _texts(rows: pd.DataFrame) -> list[str]:
    columns = [name for name in ("num_gpus", "gpu_type") if name in rows]
    told = rows[columns].drop_duplicates().sort_values(columns)
    kinds = told["gpu_type"] if "gpu_type" in told else [""] * len(told)
    return [gpus_text(count, kind) for count, kind in zip(told["num_gpus"], kinds, strict=True)]


def gpus_text(count: object, kind: object) -> str:
    """`2 × H100` of a number and a kind; "" where the number is not known."""
    if count in (None, "") or count != count:
        return ""
    name = "" if kind is None or kind != kind else str(kind)
    return f"{float(str(count)):g} × {name or 'GPU'}"
