"""The flags of `moeserve slurm submit` that say how, not what."""

from pathlib import Path
from typing import Annotated, Any

import typer

from catalog.errors import BadValue, UnknownName

RUNTIMES = ("pyxis", "apptainer", "podman")
FOLLOW_UPS = ("collect", "report")


def _option(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Slurm", show_default=False)


SharedDirOption = Annotated[
    Path | None,
    typer.Option("--result-dir", "-o", help="On a file system that all nodes share."),
]
OptionalText = str | None
PartitionOption = Annotated[OptionalText, _option("--partition", help="One or several.")]
AccountOption = Annotated[OptionalText, _option("--account", help="Charged for the jobs.")]
QosOption = Annotated[OptionalText, _option("--qos", help="Quality of service.")]
ConstraintOption = Annotated[OptionalText, _option("--constraint", help="Node features.")]
GpuTypeOption = Annotated[OptionalText, _option("--gpu-type", help="As in gpu:a100.")]
TimeOption = Annotated[
    OptionalText, _option("--time", help="Limit of a task; default from the estimate.")
]
CpusOption = Annotated[int | None, _option("--cpus", help="CPUs of a task.")]
MemoryOption = Annotated[OptionalText, _option("--memory", help="Of a task, such as 64G.")]
ContainerImageOption = Annotated[
    OptionalText,
    _option("--container", help="pyxis:, apptainer: or podman:IMAGE, which holds the server."),
]
InterfaceOption = Annotated[
    OptionalText, _option("--interface", help="Between nodes, as in ip link: ib0.")
]
SbatchOption = Annotated[
    list[str] | None, _option("--sbatch", help="--sbatch=--exclude=n7; repeatable.")
]
MaxParallelOption = Annotated[
    int | None, _option("--max-parallel", help="Tasks running at once, over all arrays.")
]
RequeueOption = Annotated[
    bool | None,
    _option("--requeue/--no-requeue", help="Let Slurm start a lost task again; default no."),
]
RehearseOption = Annotated[
    bool | None, _option("--rehearse", help="Ask for GPUs though the engine is simulated.")
]
ClusterOption = Annotated[OptionalText, _option("--cluster", help="Of the site profile.")]
ProfileOption = Annotated[
    Path | None, _option("--profile", help="Instead of ~/.config/moeserve/slurm.yaml.")
]
ThenOption = Annotated[
    OptionalText, _option("--then", help="Jobs after all tasks: collect, or collect,report.")
]
RoundsOption = Annotated[
    int,
    typer.Option(
        "--rounds",
        min=0,
        max=100,
        rich_help_panel="Slurm",
        help="How often what is missing is submitted again by itself.",
    ),
]
DryRunOption = Annotated[bool, _option("--dry-run", help="Print script and plan; submit nothing.")]


def parse_container(text: str | None) -> dict[str, str] | None:
    """Read `KIND:IMAGE`."""
    if text is None:
        return None
    kind, colon, image = text.partition(":")
    if not colon or not image:
        raise BadValue("--container", text, " or ".join(f"{each}:IMAGE" for each in RUNTIMES))
    if kind not in RUNTIMES:
        raise UnknownName("container runtime", kind, RUNTIMES)
    return {"kind": kind, "image": image}


def parse_follow_ups(text: str | None) -> tuple[str, ...]:
    """Read `collect,report`."""
    wanted = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for name in wanted:
        if name not in FOLLOW_UPS:
            raise UnknownName("follow-up", name, FOLLOW_UPS)
    return wanted
