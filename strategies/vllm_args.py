"""A layout as arguments of vLLM's server, and back."""

from strategies.knobs import KNOBS
from strategies.layout import Layout


def vllm_args(layout: Layout) -> list[str]:
    """Arguments for the layout's degrees and knobs; an axis of degree 1 is left out."""
    axes = (
        ("--tensor-parallel-size", layout.tp),
        ("--pipeline-parallel-size", layout.pp),
        ("--data-parallel-size", layout.dp),
    )
    degrees = [word for flag, degree in axes if degree > 1 for word in (flag, str(degree))]
    experts = ["--enable-expert-parallel"] if layout.ep else []
    knobs = [word for name, value in layout.knobs for word in KNOBS[name].vllm_args(value)]
    return [*degrees, *experts, *knobs]
