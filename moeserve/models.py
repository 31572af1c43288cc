"""The models of the catalog as `moeserve models` lists them: no configuration is read for it."""

from collections.abc import Iterator

import msgspec

from catalog.counts import Counts, counts_of
from catalog.kept import kept_models
from catalog.model_table import ALIASES, MODELS
from orchestrator.results.record import ColumnValue


def catalog_rows() -> Iterator[dict[str, ColumnValue]]:
    """Give the sizes of every model that the catalog knows by name."""
    for model in MODELS.values():
        names = tuple(alias for alias, name in ALIASES.items() if name == model.name)
        yield _row(model.name, model.hf_id, names, counts_of(model), model.source)
    for kept in kept_models():
        yield _row(kept.name, kept.hf_id, kept.aliases, kept.counts, kept.source)


def _row(
    name: str, hf_id: str | None, aliases: tuple[str, ...], counts: Counts, source: str
) -> dict[str, ColumnValue]:
    return {
        "model": name,
        **msgspec.structs.asdict(counts),
        "hf_id": hf_id,
        "aliases": ", ".join(aliases) or None,
        "source": source,
    }


def listed(row: dict[str, ColumnValue]) -> dict[str, ColumnValue]:
    """Give a row of the catalog as people read it in a terminal of 80 columns."""
    experts = f"{row['experts']}/{row['top_k']}" if row["experts"] else None
    total = _billions(row["total_params"])
    return {
        "model": row["model"],
        "total B": total or "not counted",
        "active B": _billions(row["active_params"]),
        "experts": experts,
        "weights": row["weight_dtype"],
    }


def _billions(count: ColumnValue) -> str | None:
    """Return parameters in 10^9, with three digits below 10."""
    if not isinstance(count, int):
        return None
    return f"{count / 1e9:.1f}" if count >= 10**10 else f"{count / 1e9:.3g}"
