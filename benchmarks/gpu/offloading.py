"""Expert offloading: moving a missing expert against computing it on the host."""

from collections.abc import Iterator

import torch
from clock import Setting
from table import Table

from catalog.units import GB, MIB, MS_PER_S
from servers.huggingface.offload.costs import measure_costs
from servers.huggingface.offload.experts import product
from servers.huggingface.offload.packed import pack

SHAPES = {
    "OLMoE-1B-7B": (2048, 1024),
    "Qwen3-30B-A3B": (2048, 768),
    "DeepSeek-V3": (7168, 2048),
    "Mixtral-8x7B": (4096, 14336),
}
"""Hidden size and width of one expert, as published."""
SMALL = {"tiny": (128, 64), "OLMoE-1B-7B": (2048, 1024)}
TOKENS = (1, 16, 256)
COUNT = 2
SEED = 0
COLUMNS = (
    "expert of", "kept as", "MiB", "move ms", "move GB/s", "host ms, 1 token",
    "host µs, each further", "device ms, 1 token", "quicker by tokens",
)  # fmt: skip


def measure(setting: Setting) -> Iterator[Table]:
    for name, (hidden, width) in (SMALL if setting.small else SHAPES).items():
        rows = tuple(_row(setting, name, hidden, width, int8=int8) for int8 in (False, True))
        yield Table(f"Offloaded experts of {name}'s size", COLUMNS, rows, _notes(setting))


def _notes(setting: Setting) -> tuple[str, ...]:
    if setting.device == "cpu":
        return ("on a CPU the device is host memory too: moving is a copy within it",)
    return ("host memory is pinned; medians of five",)


def _row(
    setting: Setting, name: str, hidden: int, width: int, *, int8: bool
) -> tuple[str | float | int | None, ...]:
    torch.manual_seed(SEED)
    on_gpu = setting.device != "cpu"
    gate_up = torch.randn(COUNT, 2 * width, hidden).mul_(0.02).to(setting.dtype)
    down = torch.randn(COUNT, hidden, width).mul_(0.02).to(setting.dtype)
    host = pack(gate_up, down, int8=int8, pinned=on_gpu)
    arena = host.empty(1, setting.device)
    act = torch.nn.functional.silu
    with torch.inference_mode():
        costs = measure_costs(
            host, arena, lambda store, row, tokens: product(store, row, tokens, act)
        )
    quicker = [f"{n}: {'host' if costs.host_is_quicker(n) else 'move'}" for n in TOKENS]
    return (
        name,
        "int8" if int8 else str(setting.dtype).removeprefix("torch."),
        host.expert_bytes / MIB,
        costs.move_s * MS_PER_S,
        host.expert_bytes / costs.move_s / GB,
        costs.host_s * MS_PER_S,
        costs.host_s_per_token * 1e6,
        costs.device_s * MS_PER_S,
        ", ".join(quicker),
    )
