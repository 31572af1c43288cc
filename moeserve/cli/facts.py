"""`moeserve models`, `hardware`, `strategies`, `techniques`, `doctor`: catalogs, this machine."""

import asyncio
from typing import Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import Format, FormatOption, Row, note, show


def add_to(app: typer.Typer) -> None:
    app.command("models", help="List the models in the catalog.\n\nExample: moeserve models")(
        models
    )
    app.command("hardware", help="List GPUs and links.\n\nExample: moeserve hardware")(hardware)
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
        help="Say what this machine, or a Ray cluster, can run and what is missing.\n\n"
        "Examples:\n\n  moeserve doctor\n\n"
        "  moeserve doctor --ray --ray-address 10.0.0.1:6379 --model mixtral",
    )(doctor)


def models(output: FormatOption = Format.table) -> None:
    from catalog.model_table import MODELS

    show(
        [
            {
                "model": model.name,
                "kind": model.kind,
                "total_params": model.total_params,
                "active_params": model.active_params,
                "layers": model.layers,
                "hidden": model.hidden,
                "experts": model.experts.count if model.experts else None,
                "top_k": model.experts.top_k if model.experts else None,
                "expert_width": model.experts.width if model.experts else None,
                "kv_elements_per_token": model.kv_elements_per_token,
                "hf_id": model.hf_id,
                "source": model.source,
            }
            for model in MODELS.values()
        ],
        output,
        columns=(
            "model", "kind", "total_params", "active_params", "layers", "hidden", "experts",
            "top_k", "expert_width", "hf_id",
        ),
    )  # fmt: skip


def hardware(output: FormatOption = Format.table) -> None:
    from catalog.hardware_table import GPUS

    show(
        [
            {
                "hardware": gpu.name,
                "memory_bytes": gpu.memory_bytes,
                "bandwidth_bytes_per_s": gpu.bandwidth_bytes_per_s,
                **{f"{dtype}_flops_per_s": peak for dtype, peak in gpu.flops_per_s.items()},
                "intra_node": gpu.intra_node.name,
                "intra_node_bytes_per_s": gpu.intra_node.bandwidth_bytes_per_s,
                "inter_node": gpu.inter_node.name,
                "inter_node_bytes_per_s": gpu.inter_node.bandwidth_bytes_per_s,
                "gpus_per_node": gpu.per_node,
                "price_per_hour_usd": gpu.price_per_hour_usd,
                "source": gpu.source,
                "price_source": gpu.price_source,
            }
            for gpu in GPUS.values()
        ],
        output,
        columns=(
            "hardware", "memory_bytes", "bandwidth_bytes_per_s", "bfloat16_flops_per_s",
            "fp8_flops_per_s", "intra_node", "inter_node", "gpus_per_node", "price_per_hour_usd",
        ),
    )  # fmt: skip


def strategies(
    gpus: int | None = typer.Option(None, "--gpus", help="Degree of tp, ep and tp+ep."),
    output: FormatOption = Format.table,
) -> None:
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
    note("any degrees: tp4, dp8+ep, tp2+dp4+ep, pp2+tp4; knobs in brackets: dp8+ep[eplb=32]")
    for name, knob in KNOBS.items():
        note(f"  {name}: {knob.about} ({knob.allowed})")


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

    if not ray:
        show(
            [
                {"check": each.name, "ok": each.ok, "found": each.found, "mend": each.mend}
                for each in checks()
            ],
            output,
        )
        return
    from orchestrator.cluster.doctor import examine
    from orchestrator.cluster.options import RayOptions

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
