"""What a predictor has learned from, and where a question lies outside of it."""

from collections.abc import Mapping

from analysis.predict.cases import Cases

Ranges = Mapping[str, tuple[float, float]]
"""Least and most of a feature, as a binary logarithm."""
RANGED = {
    "model": {
        "log_total_params": "parameters",
        "log_experts": "experts",
        "log_top_k": "experts a token",
        "log_hidden": "hidden size",
        "log_layers": "layers",
        "log_kv_bytes": "cached bytes a token",
    },
    "lengths": {"log_input_len": "prompt tokens", "log_output_len": "output tokens"},
    "load": {"log_in_flight": "requests in flight"},
    "layout": {"log_tp": "tensor-parallel ranks", "log_dp": "replicas", "log_pp": "stages"},
}
"""Kinds of a question's parts, each the features it shows in."""
WIDER = 1.5
"""Factor on the spread of a prediction for each kind that is outside: an assumption, of the size
by which published errors grow from fitted sources to a source left out."""
ROUNDING = 1e-9


def ranges_of(cases: Cases) -> dict[str, tuple[float, float]]:
    """Least and most of each ranged feature over all options."""
    column = {name: cases.matrix[:, i] for i, name in enumerate(cases.names)}
    names = [name for features in RANGED.values() for name in features]
    return {name: (float(column[name].min()), float(column[name].max())) for name in names}


def outside(ranges: Ranges, features: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """Say what is asked and what was learned, for each kind with a feature out of its range."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, names in RANGED.items():
        told = tuple(
            f"{2 ** features[name]:.4g} {word}, learned from {2**low:.4g} to {2**high:.4g}"
            for name, word in names.items()
            for low, high in [ranges[name]]
            if not low - ROUNDING <= features[name] <= high + ROUNDING
        )
        if told:
            found[kind] = told
    return found
