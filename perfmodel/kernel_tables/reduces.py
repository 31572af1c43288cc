"""Measured all-reduces over the ranks of one node."""

from pathlib import Path

from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.rows import parquet_rows

FILE = "custom_allreduce_perf.parquet"
COLUMNS = ("allreduce_dtype", "num_gpus", "message_size", "latency")
BACKEND = "backend"
CAPTURED = "vllm_graph"
"""As in a captured graph, where serving engines decode; eager ones wait for the host."""
ELEMENT_BYTES = 2
"""Messages are counted in elements of 16 bits."""


def node_reduces(path: Path, ranks: int) -> Measured | None:
    """Seconds over bytes; None where so many ranks were not measured."""
    rows = parquet_rows(path, COLUMNS, (BACKEND,))
    chosen: dict[str, object] = {"allreduce_dtype": "bfloat16", "num_gpus": ranks}
    if BACKEND in rows.columns:
        chosen[BACKEND] = CAPTURED
    found = rows.where(**chosen)
    sizes = found.numbers("message_size") * ELEMENT_BYTES
    return found.with_column("bytes", sizes).times("bytes")
