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
    cell_id: str
    replicate: int
    attempt: int
    block: int
    started_at: str
    """UTC, ISO 8601."""
    verdict: Verdict
    verdict_reasons: str
    """Codes of what makes the run invalid, joined by `;`; empty when valid."""
    engine: str
    provenance: Provenance
    model: str
    strategy: str
    tp: int | None
    """Layout columns are None where a running server was measured and its layout not named."""
    dp: int | None
    pp: int | None
    ep: bool | None
    num_gpus: int | None
    gpu_type: str
    technique: str
    workload: str
    input_len: int | None
    output_len: int | None
    num_prompts: int | None
    """None where another tool measured and its file does not say."""
    max_concurrency: int | None
    effective_concurrency: float | None = None
    request_rate: float | None = None
    """Requests per second asked for; None in a closed loop."""
    burstiness: float | None = None

    duration: float | None = None
    completed: int | None = None
    failed: int | None = None
    total_input_tokens: int | None = None
    total_output_tokens: int | None = None
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
    engine_version: str = ""
    """As the server says it, or the calibration of a simulated one."""
    server_args: str = ""
    server_env: str = ""
    endpoint: str = ""
    """Of a server that ran already."""
    request_form: str = ""
    """What made the requests others than usual: chat, further fields, fields left out."""
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
