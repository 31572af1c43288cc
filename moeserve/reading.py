"""How one model's configuration is read, as `moeserve models --model` shows it."""

from catalog.counts import most_dtype
from catalog.from_hf import read_model
from orchestrator.results.record import ColumnValue


def reading(name: str, context: int) -> dict[str, ColumnValue]:
    """Show how one model is read; `cache_bytes` is that of one sequence of `context` tokens.

    What is not known is None, with a note that says why.
    """
    model = read_model(name)
    counted = model.counted != "no"
    return {
        "model": model.name,
        "counted": model.counted,
        "total_parameters": model.total_params if counted else None,
        "active_parameters": model.active_params if counted else None,
        "weight_bytes": round(model.held.total) if model.sized else None,
        "weight_dtype": most_dtype(model) if model.sized else None,
        "cache_bytes": round(model.cache_bytes(context)) if counted else None,
        "notes": "; ".join(model.notes),
    }
