"""`moeserve models`, `strategies`, `techniques`, `doctor`: catalogs, this machine."""

from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import Format, FormatOption, note, print_json, show
from moeserve.cli.table import shown
from orchestrator.results.record import Row

MODEL = "A name of the catalog, a config.json or its directory, or a Hugging Face id."


def add_to(app: typer.Typer) -> None:
    app.command(
        "models",
        help="List the models in the catalog, or show how a configuration is read.\n\n"
        "Of one that is named: parameters, bytes of its weights and of a sequence's cache, and "
        "what is not known.\n\nExamples:\n\n  moeserve models\n\n"
        "  moeserve models --model ./my-model --context 32768",
    )(models)
    app.command(
        "strategies", help="List layouts and their knobs.\n\nExample: moeserve strategies --gpus 8"
    )(strategies)
    app.command(
        "techniques",
        help="List techniques, their knobs, and which engines do them.\n\n"
        "Example: moeserve techniques",
    )(techniques)
    app.command(
        "doctor",
        help="Say what this machine, or a Ray cluster, can run and what is missing; or explain a "
        "server's log.\n\nExamples:\n\n  moeserve doctor\n\n"
        "  moeserve doctor --log server.log --format json\n\n"
        "  moeserve doctor --ray --ray-address 10.0.0.1:6379 --model mixtral",
    )(doctor)


def models(
    names: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Show how this is read instead; repeatable. " + MODEL),
    ] = None,
    context: Annotated[
        int, typer.Option("--context", min=1, help="Tokens of the sequence in cache_bytes.")
    ] = 4096,
    output: FormatOption = Format.table,
) -> None:
    if not names:
        from moeserve.models import catalog_rows, listed

        catalog = catalog_rows()
        show(map(listed, catalog) if output is Format.table else catalog, output)
        return
    from moeserve.reading import reading

    rows = [reading(name, context) for name in names]
    if output is Format.json and len(rows) == 1:
        print_json(rows[0])
        return
    show(rows, output)


def strategies(
    gpus: int | None = typer.Option(None, "--gpus", help="Degree of tp, ep and tp+ep."),
    output: FormatOption = Format.table,
) -> None:
    from servers.simulated.arguments import priced_arguments
    from strategies import ALL, parse_layout
    from strategies.knobs import KNOBS
    from strategies.vllm_args import vllm_args

    named = [parse_layout(name, gpus=gpus) for name in ALL]
    show(
        [
            {
                "strategy": layout.name,
                "tp": layout.tp,
                "dp": layout.dp,
                "pp": layout.pp,
                "ep": layout.ep,
                "num_gpus": layout.num_gpus,
                "ep_degree": layout.ep_degree,
                "vllm_args": " ".join(vllm_args(layout)),
            }
            for layout in named
        ],
        output,
    )
    arguments = priced_arguments()
    note("any degrees: tp4, dp8+ep, tp2+dp4+ep, pp2+tp4; knobs in brackets: dp8+ep[eplb=32]")
    for name, knob in KNOBS.items():
        note(f"  {name}: {knob.about} ({knob.allowed}); priced in simulation: {knob.priced}")
    note(f"server arguments priced in simulation (all others are refused there): {arguments}")


def techniques(output: FormatOption = Format.table) -> None:
    from strategies.methods import METHODS

    rows = []
    for name, method in METHODS.items():
        knobs = [f"{key} ({knob.allowed})" for key, knob in method.knobs.items()]
        value = [method.value.allowed] if method.value else []
        rows.append(
            {
                "technique": f"{name}:VALUE" if method.value else name,
                "engines": ", ".join(method.engines),
                "changes": ", ".join(method.changes),
                "about": method.about,
                "parameters": "; ".join(value + knobs) or None,
            }
        )
    show(rows, output)
    note("joined by + where they change different things: int8+kv-fp8; knobs after colons")


def doctor(
    output: FormatOption = Format.table,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="Explain this log of a vLLM server instead, anybody's."),
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Look at every node of a Ray cluster instead.")
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="HOST:PORT of its head.")
    ] = None,
    ray_token_file: Annotated[
        str | None, typer.Option("--ray-token-file", help="Its token; default as Ray finds it.")
    ] = None,
    ray_allow_unauthenticated: Annotated[
        bool, typer.Option("--ray-allow-unauthenticated", help="Even if it asks for none.")
    ] = False,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Look for its files on each node; repeatable."),
    ] = None,
) -> None:
    from moeserve.doctor import checks

    if log is not None:
        if ray:
            raise BadValue("--log", "with --ray", "one of the two")
        _explain(log, output)
        return
    if not ray:
        show(
            [
                {"check": each.name, "ok": each.ok, "found": each.found, "fix": each.fix}
                for each in checks()
            ],
            output,
        )
        return
    import asyncio

    from orchestrator.cluster.doctor import examine
    from orchestrator.experiment.ray_options import RayOptions

    if ray_address is None:
        raise BadValue("--ray-address", "nothing", "HOST:PORT of the cluster's head")
    options = RayOptions(
        address=ray_address,
        token_file=ray_token_file,
        allow_unauthenticated=ray_allow_unauthenticated,
    )
    rows: list[Row] = list(asyncio.run(examine(options, models or [])))
    show(rows, output)
    if any(row["problems"] for row in rows):
        raise typer.Exit(3)


def _explain(log: Path, output: Format) -> None:
    from moeserve.server_log import explained

    found = explained(log)
    if output is Format.json:
        print_json(found)
    elif output is Format.csv:
        show([found], output)
    else:
        show([{"what": name, "found": shown(value)} for name, value in found.items()], output)
