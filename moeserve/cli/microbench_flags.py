"""The flags of `moeserve microbench experts`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.errors import BadValue

if TYPE_CHECKING:
    from microbench.routing import RoutingPattern

PANEL = "Sizes: 512, or 8,16,32, or 8..128 (doubling)"


def _size(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL, show_default=False)


BatchOption = Annotated[str | None, _size("--batch", "-b", help="Tokens of the step.")]
IntermediateOption = Annotated[
    str | None, _size("--intermediate", "--width", help="Width of an expert.")
]
ExpertsOption = Annotated[str | None, _size("--experts", help="Experts of the layer.")]
ActiveExpertsOption = Annotated[
    str | None,
    _size("--active-experts", "--active", help="Experts with tokens; default ¼, ½ and all."),
]
TopKOption = Annotated[str | None, _size("--top-k", "-k", help="Experts of a token.")]
HiddenOption = Annotated[str | None, _size("--hidden", help="Width of the model.")]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="float32, bfloat16, float16; a list, too.")
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", help="loop, grouped, vllm, or a list; default all that can run."),
]
RoutingKindOption = Annotated[
    str, typer.Option("--routing", help="uniform (even load), random or zipf.")
]
ZipfOption = Annotated[
    float | None, typer.Option("--zipf", help="Exponent of --routing zipf; default 1.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of routing, weights and tokens.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Of the CPU; default one a core.")
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", help="Measuring processes, which take turns.")
]
SamplesOption = Annotated[
    int, typer.Option("--samples", help="Timed steps of each row, all processes together.")
]
QuickOption = Annotated[bool, typer.Option("--quick", help="Fewer and smaller sizes.")]
TargetOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="A directory for everything, or a .csv or .json file."),
]


def levels(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Read sizes as concurrency levels are written."""
    from workloads.load.concurrency import ALLOWED_LEVELS, parse_levels

    if text is None:
        return None
    try:
        return parse_levels(text)
    except BadValue:
        raise BadValue(flag, text, ALLOWED_LEVELS) from None


def pattern(kind: str, zipf: float | None, seed: int) -> "RoutingPattern":
    """Refuse an exponent that the routing asked for would pass over."""
    from microbench.routing import RoutingPattern

    if zipf is None:
        return RoutingPattern(kind=kind, seed=seed)
    found = RoutingPattern(kind=kind, zipf=zipf, seed=seed)
    if kind != "zipf":
        raise BadValue("--zipf", zipf, f"only with --routing zipf, not {kind}")
    return found


def names(flag: str, text: str | None) -> tuple[str, ...] | None:
    """Read names with commas between."""
    if text is None:
        return None
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise BadValue(flag, text, "names with commas between")
    return found
