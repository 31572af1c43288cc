"""Tasks into arrays: one resource request each, no longer than Slurm allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadValue
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.experiment.server_group import ServerGroup
from slurm.scheduler.parse import write_indices
from slurm.submit.container import whole_task
from slurm.submit.job_script import JOB_SCRIPT
from slurm.submit.multinode import gpus_by_node
from slurm.submit.names import EXPORT, SITES_OWN, check_path
from slurm.submit.options import SubmitOptions
from slurm.submit.whole_nodes import (
    EXCLUSIVE,
    check_packable,
    gpus_of_a_node,
    takes_whole_nodes,
)


@dataclass(frozen=True, slots=True)
class ArrayRequest:
    """The resources that each task of one array requests."""

    gpus: int
    """On each node."""
    hardware: str
    """Empty where any node will do."""
    nodes: int = 1
    whole: bool = False
    """Whether nobody else is on the nodes; `gpus` are then all that a node has."""
    packed: bool = False
    """Whether a task may run several groups beside each other on its node."""


def array_request(group: ServerGroup, options: SubmitOptions, ray: RayOptions) -> ArrayRequest:
    """Return what a server group needs; simulated servers need no GPU unless one rehearses."""
    setup = group.setup
    virtual = engine_kind(setup.engine).devices == "none" and not options.rehearse
    if virtual or setup.hardware in ("", "CPU"):
        return ArrayRequest(0, "")
    gpus = gpus_by_node(setup, options.gpus_per_node, ray)
    if len(gpus) > 1 and options.container is not None and options.container.python is not None:
        allowed = (
            f"without container.python for {group.group_id}: on {len(gpus)} nodes Ray is started "
            "through srun, which is not in the image; then moeserve stays outside of it"
        )
        raise BadValue("container", options.container.image, allowed)
    if not takes_whole_nodes(setup.hardware, options):
        return ArrayRequest(max(gpus), setup.hardware, len(gpus))
    packed = ray.share_nodes and len(gpus) == 1
    if packed:
        check_packable(options)
    all_gpus = gpus_of_a_node(setup.hardware, options)
    return ArrayRequest(all_gpus, setup.hardware, len(gpus), whole=True, packed=packed)


def by_request(
    groups: Iterable[ServerGroup], options: SubmitOptions, ray: RayOptions, *, longest: int
) -> list[tuple[ArrayRequest, list[ServerGroup]]]:
    """Sort groups by what they need and cut them into arrays, in the plan's order within each."""
    sorted_: dict[ArrayRequest, list[ServerGroup]] = {}
    for group in groups:
        sorted_.setdefault(array_request(group, options, ray), []).append(group)
    return [
        (request, listed[first : first + longest])
        for request, listed in sorted_.items()
        for first in range(0, len(listed), longest)
    ]


def resource_arguments(request: ArrayRequest, options: SubmitOptions) -> list[str]:
    """Return sbatch's arguments for what a task needs."""
    kind = options.gpus.get(request.hardware)
    partition = (kind and kind.partition) or options.partition
    constraint = (kind and kind.constraint) or options.constraint
    given = {
        "partition": partition,
        "account": options.account,
        "qos": options.qos,
        "reservation": options.reservation,
        "constraint": constraint,
        "cpus-per-task": options.cpus,
        "mem": None if options.memory == SITES_OWN else options.memory,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    each = ["--ntasks-per-node=1"] if request.nodes > 1 else []
    place = [f"--nodes={request.nodes}", f"--ntasks={request.nodes}", *each]
    whole = _whole_arguments(options) if request.whole else []
    return [*place, *words, *whole, *_gpu_arguments(request, options)]


def _whole_arguments(options: SubmitOptions) -> list[str]:
    """Ask for nodes alone, and for all of their memory where nobody says how much."""
    said = options.memory is not None or any(word.startswith("--mem") for word in options.sbatch)
    exclusive = [] if EXCLUSIVE in options.sbatch else [EXCLUSIVE]
    return [*exclusive, *([] if said else ["--mem=0"])]


def _gpu_arguments(request: ArrayRequest, options: SubmitOptions) -> list[str]:
    """Return the request for GPUs in the site's way, and for other GRES beside them."""
    kind = options.gpus.get(request.hardware)
    kind_name = (kind and kind.type) or options.gpu_type
    counted = f"{kind_name}:{request.gpus}" if kind_name else str(request.gpus)
    wanted, gres = options.gpu_request if request.gpus else "none", options.further_gres
    if gres == ("none",):
        return ["--gres=none"]
    if wanted == "gres":
        gres = (f"gpu:{counted}", *gres)
    own = [f"--{wanted}={counted}"] if wanted.startswith("gpus-per-") else []
    return [*own, *([f"--gres={','.join(gres)}"] if gres else [])]


def bookkeeping(name: str, token: str, root: Path, options: SubmitOptions) -> list[str]:
    """Return sbatch's arguments that moeserve relies on, whatever the job."""
    check_path("--result-dir", str(root))
    variables = ",".join(dict.fromkeys((*EXPORT, *options.export)))
    return [
        f"--job-name={name}",
        f"--comment={options.comment.replace('{token}', token)}",
        f"--chdir={root}",
        "--open-mode=append",
        f"--export={variables}",
        "--kill-on-invalid-dep=yes",
        "--requeue" if options.requeue else "--no-requeue",
    ]


def array_arguments(
    *, count: int, name: str, token: str, root: Path, options: SubmitOptions, lead_s: int
) -> list[str]:
    """Return what makes the job an array: indices, throttle, output, the signal ahead of time."""
    throttle = f"%{options.max_parallel}" if options.max_parallel else ""
    lead = [f"--signal=B:USR2@{lead_s}"] if lead_s else []
    return [
        *bookkeeping(name, token, root, options),
        f"--array={write_indices(list(range(count)))}{throttle}",
        f"--output=slurm/{token}/logs/%A_%a.log",
        *lead,
    ]


def program(
    python: str,
    root: Path,
    options: SubmitOptions,
    arguments: Sequence[str],
    script: Path = JOB_SCRIPT,
) -> list[str]:
    """Return the job script and what it is to run, within the image that holds moeserve if any."""
    box = options.container
    if box is None or box.python is None:
        return [str(script), options.python or python, *arguments]
    return [str(script), *whole_task(box, root, options.scratch, options.export), *arguments]
