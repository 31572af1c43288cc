"""Measured runs of a run table, as the analytic model's constants are fitted to them."""

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from catalog.bounded import RealRange
from catalog.dtypes import as_served
from catalog.errors import BadFile, BadValue, Infeasible, InputError
from catalog.from_hf import load_model
from orchestrator.engines.registry import SIMULATION
from orchestrator.experiment.server_dtypes import requested_model
from perfmodel.engine_defaults import known_version
from perfmodel.features import MeasuredRun
from perfmodel.priced import check_priced
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings, server
from servers.simulated.arguments import KV_DTYPES, server_arguments
from strategies import parse_layout
from strategies.engine_support import refuse_unable
from strategies.own_gpus import find_gpu
from strategies.technique import NONE, parse_technique
from workloads.load.profiles import is_traffic

if TYPE_CHECKING:
    import pandas as pd

NEEDED = (
    "model", "strategy", "gpu_type", "input_len", "output_len", "num_prompts", "max_concurrency",
    "output_throughput",
)  # fmt: skip
MOST_REQUESTS = 1_000_000
PLAUSIBLE = RealRange(1e-6, 1e9)
"""Tokens/s and milliseconds: beyond them no server was measured, and a unit is wrong."""
MOST_TOLD = 3


class Measured(NamedTuple):
    """Runs to fit, and how many rows each reason left out."""

    runs: list[MeasuredRun]
    left_out: Counter[str]


def measured_runs(frame: "pd.DataFrame", assumed: ServerSettings = DEFAULT_SETTINGS) -> Measured:
    """Take a run table's valid closed-loop rows of equal requests whose server has a price.

    Others are left out and counted by reason. Raise BadFile where a column is missing, or where
    nothing is left.
    """
    source = frame["source_file"].iloc[0]
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise BadFile(source, f"no column {', '.join(map(repr, missing))}")
    runs, left_out = [], Counter[str]()
    for row in frame.to_dict("records"):
        if why := _unusable(row):
            left_out[why] += 1
            continue
        try:
            runs.append(_measured(row, assumed))
        except (InputError, Infeasible) as error:
            left_out[str(error)] += 1
    if not runs:
        told = "; ".join(f"{count} rows: {why}" for why, count in left_out.most_common(MOST_TOLD))
        raise BadFile(source, f"no run to fit: {told}")
    return Measured(runs, left_out)


def _unusable(row: dict[Any, Any]) -> str:
    """Why a row says nothing of the model's constants; empty where it does."""
    if row.get("verdict", "") not in ("valid", ""):
        return "not valid"
    if not _given(row["output_throughput"]) or row["output_throughput"] <= 0:
        return "no output_throughput"
    if not _given(row["max_concurrency"]) or _given(row.get("request_rate")):
        return "not a closed loop"
    if is_traffic(str(row.get("workload", ""))):
        return "requests that differ, of which means say too little"
    return ""


def _measured(row: dict[Any, Any], assumed: ServerSettings) -> MeasuredRun:
    gpu, layout = find_gpu(str(row["gpu_type"])), parse_layout(str(row["strategy"]))
    technique = parse_technique(str(row["technique"]) if _given(row.get("technique")) else NONE)
    refuse_unable(technique, SIMULATION)
    checkpoint = load_model(technique.checkpoint or str(row["model"]))
    asked = server_arguments(_words(row.get("server_args")))
    words = ("--dtype", asked.dtype) if asked.dtype else ()
    model = requested_model(technique, as_served(checkpoint, gpu), words)
    assert model is not None  # only a type that is not known gives none
    check_priced(layout, model)
    run = MeasuredRun(
        model=model,
        layout=layout,
        gpu=gpu,
        input_len=_count(row, "input_len"),
        output_len=_count(row, "output_len"),
        num_prompts=_count(row, "num_prompts"),
        max_concurrency=_count(row, "max_concurrency"),
        output_throughput=PLAUSIBLE.require(row["output_throughput"], "output_throughput"),
        mean_ttft_ms=_positive(row.get("mean_ttft_ms")),
        max_num_batched_tokens=_told(row, "max_num_batched_tokens") or asked.max_num_batched_tokens,
        max_num_seqs=_told(row, "max_num_seqs") or asked.max_num_seqs,
        engine_version=known_version(str(row.get("engine_version", ""))),
        kv_dtype=KV_DTYPES[asked.kv_cache_dtype or "auto"] or technique.kv_dtype,
    )
    longest = run.input_len + run.output_len
    server(model, layout, gpu, longest=longest, setup=run.server_settings(assumed))
    return run


def _words(told: object) -> list[str]:
    """A server's arguments; what has no price leaves its row out, as it would be refused."""
    try:
        return shlex.split(str(told)) if _given(told) else []
    except ValueError:
        raise BadValue("server_args", told, "arguments as a shell reads them") from None


def _count(row: dict[Any, Any], name: str) -> int:
    """A number of tokens or requests; a mean of tokens may have a fraction."""
    value = row[name]
    if not _given(value) or not 1 <= value <= MOST_REQUESTS:
        raise BadValue(name, value, f"1 to {MOST_REQUESTS}")
    return round(float(value))


def _positive(value: object) -> float | None:
    """A figure that was measured, or None."""
    known = isinstance(value, int | float) and value > 0
    return PLAUSIBLE.require(value, "mean_ttft_ms") if known else None


def _told(row: dict[Any, Any], name: str) -> int | None:
    """A server's own limit; None where the row has none, or those of several servers."""
    text = str(row.get(name, "")).removesuffix(".0")
    return int(text) if text.isdecimal() and int(text) else None


def _given(value: object) -> bool:
    return value is not None and value == value and value != ""
