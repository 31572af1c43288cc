"""One finished run as a row: the columns users and scripts rely on, each described once."""

from collections.abc import Mapping
from typing import Literal

import msgspec

Verdict = Literal["valid", "invalid", "failed", "interrupted"]
ColumnValue = float | int | str | bool | None
Row = Mapping[str, ColumnValue]
"""A row of any table by its columns."""
Provenance = Literal["measured", "simulated", "imported"]
MEASURED: Provenance = "measured"
SIMULATED: Provenance = "simulated"
IMPORTED: Provenance = "imported"


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the run table. Durations in seconds, latencies in ms; None is «not measured»."""

    run_id: str
    """Of the cell and the replicate: the same run has the same id everywhere."""
    cell_id: str
    """Hash of the condition: model, layout, technique, hardware, workload, load."""
    replicate: int
    """From 0; each replicate has server starts of its own."""
    attempt: int
    """From 1: which try at the run this is."""
    block: int
    """The randomised block it was run in, within which layouts are compared."""
    started_at: str
    """UTC, ISO 8601."""
    verdict: Verdict
    """`valid`, or why the run does not count: `invalid`, `failed`, `interrupted`."""
    verdict_reasons: str
    """Codes of what makes the run invalid, joined by `;`; empty when valid."""
    engine: str
    """What served: vllm, simulated, …"""
    provenance: Provenance
    """`measured`, `simulated` or `imported`: never pooled unasked."""
    model: str
    """Its name in the catalog, or as it was given."""
    strategy: str
    """The layout by its shortest name: `tp`, `tp4`, `dp8+ep`, …"""
    tp: int | None
    """Degree of tensor parallelism. Layout columns are None where a running server was measured
    and its layout not named."""
    dp: int | None
    """Degree of data parallelism."""
    pp: int | None
    """Degree of pipeline parallelism."""
    ep: bool | None
    """Whether experts are spread: over tp · dp GPUs."""
    num_gpus: int | None
    """tp · dp · pp."""
    gpu_type: str
    """As the catalog names it."""
    technique: str
    """Quantisation or offloading: `none`, `fp8`, …"""
    workload: str
    """Canonical text: a profile's name, INPUT:OUTPUT:PROMPTS, or others of docs/workloads.md."""
    input_len: int | None
    """Tokens of a prompt."""
    output_len: int | None
    """Tokens asked for in an answer."""
    num_prompts: int | None
    """None where another tool measured and its file does not say."""
    max_concurrency: int | None
    """Requests in flight that were asked for; with a rate, the cap."""
    effective_concurrency: float | None = None
    """Mean number of requests that were in flight."""
    request_rate: float | None = None
    """Requests per second asked for; None in a closed loop."""
    burstiness: float | None = None
    """Of arrivals: 1 is Poisson, below is burstier; None in a closed loop."""

    duration: float | None = None
    """The window that throughputs are over."""
    completed: int | None = None
    """Requests that ended well."""
    failed: int | None = None
    """Requests that did not."""
    total_input_tokens: int | None = None
    """Of completed requests."""
    total_output_tokens: int | None = None
    """Of completed requests."""
    request_throughput: float | None = None
    request_goodput: float | None = None
    output_throughput: float | None = None
    total_token_throughput: float | None = None
    output_throughput_per_gpu: float | None = None

    mean_ttft_ms: float | None = None
    median_ttft_ms: float | None = None
    std_ttft_ms: float | None = None
    p90_ttft_ms: float | None = None
    p95_ttft_ms: float | None = None
    p99_ttft_ms: float | None = None
    mean_tpot_ms: float | None = None
    median_tpot_ms: float | None = None
    std_tpot_ms: float | None = None
    p90_tpot_ms: float | None = None
    p95_tpot_ms: float | None = None
    p99_tpot_ms: float | None = None
    mean_itl_ms: float | None = None
    median_itl_ms: float | None = None
    std_itl_ms: float | None = None
    p90_itl_ms: float | None = None
    p95_itl_ms: float | None = None
    p99_itl_ms: float | None = None
    mean_e2el_ms: float | None = None
    median_e2el_ms: float | None = None
    std_e2el_ms: float | None = None
    p90_e2el_ms: float | None = None
    p95_e2el_ms: float | None = None
    p99_e2el_ms: float | None = None

    verdict_notes: str = ""
    """Codes of what a reader should know and that does not make the run invalid."""
    server_group: str = ""
    """Server launch this run was measured on: the unit of replication for claims."""
    seed: int | None = None
    """Of prompts, arrivals and order."""
    engine_version: str = ""
    """As the server says it, or the calibration of a simulated one."""
    server_args: str = ""
    """Arguments that the user added."""
    server_env: str = ""
    """Variables that the user set."""
    endpoint: str = ""
    """Of a server that ran already."""
    request_form: str = ""
    """What made the requests others than usual: chat, further fields, fields left out."""
    output_ends: str = ""
    """`natural` where answers ended where the model ended them; empty where they were forced."""
    rate_curve: str = ""
    """Multiples of the request rate over time; empty where it did not change."""
    served_model: str = ""
    """The name that a server that ran already was asked for."""
    answered_by: str = ""
    """The name that its answers gave, where it is another."""
    error: str = ""
    """What failed, in one line, with its class first; empty when nothing did."""
    extra: dict[str, float | int | str | None] = {}
    """Further columns (window figures, client self-checks, cost), flattened in the run table."""


COLUMNS: tuple[str, ...] = tuple(f for f in RunRecord.__struct_fields__ if f != "extra")
