"""`moeserve routing`: where a text's tokens go, against random ids."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moeserve.cli.options import ExperimentArgument, ExperimentFlags, with_experiment
from moeserve.cli.show import Format, FormatOption, headed, note, show

if TYPE_CHECKING:
    from orchestrator.engine import Engine
    from orchestrator.experiment.experiment import Experiment
    from orchestrator.experiment.server_group import ServerGroup
    from orchestrator.routing import MeasuredRouting, RoutingSpec

HELP = """Say which experts a text's tokens go to, and by how much random ids misjudge it.

Examples:

  moeserve routing -m tiny-olmoe --engine transformers --text prompts.txt --ep 2,4,8

  moeserve routing -m Qwen/Qwen3-30B-A3B --text prompts.txt --save routing.json

  moeserve estimate -m Qwen/Qwen3-30B-A3B -s ep --hardware H100 --routing routing.json

Prompts of the text and as many of random ids go through the model once; its server says where
each token went. The text that ships, `sample`, is for trying things out.
"""
COLUMNS = headed(
    "model", "technique", "prompts", "layer", "ep", "placement", "tokens", "expert_max_over_mean",
    "expert_gini", "dead_experts", "rank_max_over_mean", "prompt_rank_max_over_mean",
    "over_random", "low_over_random", "high_over_random",
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("routing", help=HELP)(routing)


@with_experiment
def routing(
    flags: ExperimentFlags,
    experiment: ExperimentArgument = None,
    text: Annotated[
        str,
        typer.Option(
            "--text",
            help="A UTF-8 text file, sample (the one that ships), or random: random ids alone.",
        ),
    ] = "sample",
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens of it, at most.")] = 16_384,
    window: Annotated[int, typer.Option("--window", help="Tokens of a prompt.")] = 256,
    ep: Annotated[
        str, typer.Option("--ep", help="Degrees of expert parallelism to count for.")
    ] = "2,4,8",
    placement: Annotated[
        str, typer.Option("--placement", help="Of experts on ranks: linear, round_robin, or both.")
    ] = "linear",
    layers: Annotated[bool, typer.Option("--layers", help="A row for each layer as well.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the text's routing for `estimate`.")
    ] = None,
    output: FormatOption = Format.table,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    from catalog.errors import BadValue
    from orchestrator.routing import RoutingSpec, routing_file, routing_rows
    from perfmodel.routing_file import check_writable, write_routing

    try:
        degrees = tuple(dict.fromkeys(int(each) for each in ep.split(",")))
    except ValueError:
        raise BadValue("--ep", ep, "whole numbers from 2, such as 2,4,8") from None
    asked = flags.experiment(experiment)
    spec = RoutingSpec(
        text=text,
        tokens=tokens,
        window=window,
        degrees=degrees,
        placements=tuple(dict.fromkeys(placement.split(","))),
        seed=asked.seed,
    )
    if save is not None:
        check_writable(save)
    measured = asyncio.run(_measured(asked, spec, saved=save is not None, quiet=quiet))
    if save is not None:
        write_routing(save, routing_file(measured, spec))
        note(f"routing written to {save}")
    show(
        [row for each in measured for row in routing_rows(each, spec, layers=layers)],
        output,
        columns=COLUMNS,
    )


async def _measured(
    asked: "Experiment", spec: "RoutingSpec", *, saved: bool, quiet: bool
) -> "list[MeasuredRouting]":
    import msgspec

    from orchestrator.engines.registry import engine_kind
    from orchestrator.routing import check_followed, measure_routing
    from orchestrator.study import prepare

    study = await prepare(msgspec.structs.replace(asked, expert_load=True))
    for left_out in check_followed(study, spec, saved=saved):
        note(left_out)
    said: dict[str, str] = {}

    def tell(group: "ServerGroup", stage: str) -> None:
        if not quiet and said.get(group.group_id) != stage:
            said[group.group_id] = stage
            note(f"{group.setup.what}: {stage}")

    engine: Engine = engine_kind(study.engine).build()
    return await measure_routing(study, spec, engine, tell)
