"""What a strategy ran on, in the words of a legend: `2 × A100-80GB`."""

import pandas as pd

MOST_KINDS = 2


def gpus_of(rows: pd.DataFrame) -> dict[str, str]:
    """Number and kind of GPUs of each strategy; "" where a row does not say.

    A strategy that ran on several is given all of them, up to `MOST_KINDS`, and then their number.
    """
    columns = [name for name in ("num_gpus", "gpu_type") if name in rows]
    if not columns or "strategy" not in rows:
        return {}
    made = {}
    for strategy, here in rows.groupby("strategy", sort=False):
        told = here[columns].drop_duplicates().sort_values(columns)
        texts = [gpus_text(row.get("num_gpus"), row.get("gpu_type")) for _, row in told.iterrows()]
        names = list(dict.fromkeys(texts)) if all(texts) else []
        many = len(names) > MOST_KINDS
        made[str(strategy)] = f"{len(names)} kinds of GPUs" if many else " or ".join(names)
    return made


def gpus_text(count: object, kind: object) -> str:
    """`2 × H100` of a number and a kind, `2 GPUs`, or `H100`; "" where neither is known."""
    number = "" if count in (None, "") or count != count else f"{float(str(count)):g}"
    name = "" if kind in (None, "") or kind != kind else str(kind)
    if number and not name:
        return f"{number} GPU{'s' * (number != '1')}"
    return " × ".join(filter(None, (number, name)))
