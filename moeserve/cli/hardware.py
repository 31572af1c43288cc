"""`moeserve hardware`: the GPUs that are known, of the catalog and of the user's own."""

from typing import TYPE_CHECKING

import typer

from moeserve.cli.show import Format, FormatOption, note, show
from orchestrator.results.record import Row

if TYPE_CHECKING:
    from catalog.hardware import Gpu

HARDWARE_HELP = """List GPUs and links.

Peaks are dense: no sparsity is counted.

Examples:

  moeserve hardware

  moeserve hardware --format json

One of your own is a YAML, JSON or TOML file with the fields of the JSON, each in base units; three
and a peak are enough for a single GPU:

  hardware: My-GPU

  memory_bytes: 48e9

  bandwidth_bytes_per_s: 900e9

  bfloat16_flops_per_s: 180e12

Give it as --hardware FILE wherever a GPU is asked for, or keep rows in
$XDG_CONFIG_HOME/moeserve/hardware.yaml (~/.config) and use their names.
"""


def add_to(app: typer.Typer) -> None:
    app.command("hardware", help=HARDWARE_HELP)(hardware)


def hardware(output: FormatOption = Format.table) -> None:
    from catalog.hardware_table import GPUS
    from strategies.own_gpus import kept_gpus

    own = kept_gpus()
    gpus = (*GPUS.values(), *own)
    if output is Format.table:
        show([_short_row(gpu) for gpu in gpus], output)
        for gpu in own:
            note(f"{gpu.name}: from {gpu.file}")
    else:
        show([_row(gpu) for gpu in gpus], output)


def _row(gpu: "Gpu") -> Row:
    """Every field of a GPU's row, and the file of one that is not ours."""
    from catalog.gpu_row import row_of

    row = row_of(gpu)
    named = {name: getattr(row, name) for name in row.__struct_fields__}
    lists = {name: ", ".join(named[name]) or None for name in ("aliases", "driver_names")}
    return {**named, **lists, "hardware": gpu.name, "file": gpu.file or None}


def _short_row(gpu: "Gpu") -> Row:
    """What fits a terminal of 80 columns, in the units that datasheets use."""
    from catalog.units import GB, GIB, TERA

    def tera(dtype: str) -> float | None:
        peak = gpu.flops_per_s.get(dtype)
        return None if peak is None else round(peak / TERA, 0 if peak >= TERA else 1)

    sixteen_bit = tera("bfloat16")
    link = gpu.intra_node
    return {
        "GPU": gpu.name,
        "GiB": round(gpu.memory_bytes / GIB),
        "TB/s": round(gpu.bandwidth_bytes_per_s / TERA, 3),
        "16-bit": tera("float16") if sixteen_bit is None else sixteen_bit,
        "fp8": tera("fp8"),
        "fp4": tera("fp4"),
        "link": round(link.bandwidth_bytes_per_s / GB) if link else None,
        "node": gpu.per_node,
        "$/h": gpu.price_per_hour_usd,
    }
