"""What searches for the highest load say of the layouts beside each other."""

from collections.abc import Iterator, Sequence

from orchestrator.results.record import Row


def search_answers(rows: Sequence[Row]) -> Iterator[str]:
    """Say for each model and workload how much each layout carries, the most first.

    Several searches of a layout are a range; one alone says nothing of run-to-run variation, and
    no layout is called better for it.
    """
    groups: dict[tuple[object, object], dict[str, list[float]]] = {}
    for row in rows:
        if row.get("complete"):
            found = groups.setdefault((row["model"], row["workload"]), {})
            highest = row.get("highest")
            value = float(highest) if isinstance(highest, int | float) else 0.0
            found.setdefault(str(row["strategy"]), []).append(value)
    for (model, workload), found in groups.items():
        if len(found) > 1:
            ranked = sorted(found.items(), key=lambda item: -sum(item[1]) / len(item[1]))
            told = ", ".join(f"{name} {_range(loads)}" for name, loads in ranked)
            doubt = _doubt([loads for _, loads in ranked])
            yield f"{model} {workload}: highest load within the limits: {told}{doubt}"


def _range(loads: Sequence[float]) -> str:
    low, high = min(loads), max(loads)
    if high == 0:
        return "none that was tried"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _doubt(searches: Sequence[Sequence[float]]) -> str:
    if min(map(len, searches)) < 2:
        return "; one search of each, which says nothing of run-to-run variation"
    best, second = searches[:2]
    if min(best) > max(second):
        return ""
    return "; the searches of the first two overlap"
