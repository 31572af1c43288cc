"""Tasks into arrays: same request to Slurm, no longer than Slurm allows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadValue
from orchestrator.cluster.options import RayOptions
from orchestrator.plan import ServerGroup
from slurm.names import check_path
from slurm.options import EXPORT, Options
from slurm.parse import write_indices
from slurm.several import spread_of

JOB_SCRIPT = Path(__file__).with_name("job.sh")


@dataclass(frozen=True, slots=True)
class Need:
    """What the tasks of one array ask for."""

    gpus: int
    """On each node."""
    hardware: str
    """Empty where any node will do."""
    nodes: int = 1


def need_of(group: ServerGroup, options: Options, ray: RayOptions) -> Need:
    """Return what a server group needs; simulated servers need no GPU unless one rehearses."""
    setup = group.setup
    virtual = setup.engine in ("simulated", "endpoint") and not options.rehearse
    if virtual or setup.hardware in ("", "CPU"):
        return Need(0, "")
    spread = spread_of(setup, options.gpus_per_node, ray)
    return Need(max(spread), setup.hardware, len(spread))


def by_need(
    groups: Iterable[ServerGroup], options: Options, ray: RayOptions, *, longest: int
) -> list[tuple[Need, list[ServerGroup]]]:
    """Sort groups by what they need and cut them into arrays, in the plan's order within each."""
    sorted_: dict[Need, list[ServerGroup]] = {}
    for group in groups:
        sorted_.setdefault(need_of(group, options, ray), []).append(group)
    return [
        (need, listed[first : first + longest])
        for need, listed in sorted_.items()
        for first in range(0, len(listed), longest)
    ]


def resources(need: Need, options: Options) -> list[str]:
    """Return sbatch's arguments for what a task needs."""
    kind = options.gpus.get(need.hardware)
    partition = (kind and kind.partition) or options.partition
    constraint = (kind and kind.constraint) or options.constraint
    given = {
        "partition": partition,
        "account": options.account,
        "qos": options.qos,
        "reservation": options.reservation,
        "constraint": constraint,
        "cpus-per-task": options.cpus,
        "mem": options.memory,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    if need.gpus:
        kind_name = (kind and kind.type) or options.gpu_type
        words.append(
            f"--gres=gpu:{kind_name}:{need.gpus}" if kind_name else f"--gres=gpu:{need.gpus}"
        )
    each = ["--ntasks-per-node=1"] if need.nodes > 1 else []
    return [f"--nodes={need.nodes}", f"--ntasks={need.nodes}", *each, *words]


def bookkeeping(name: str, token: str, root: Path, options: Options) -> list[str]:
    """Return sbatch's arguments that moeserve relies on, whatever the job."""
    check_path("--result-dir", str(root))
    variables = ",".join(dict.fromkeys((*EXPORT, *options.export)))
    return [
        f"--job-name={name}",
        f"--comment=moeserve:{token}",
        f"--chdir={root}",
        "--open-mode=append",
        f"--export={variables}",
        "--kill-on-invalid-dep=yes",
        "--requeue" if options.requeue else "--no-requeue",
    ]


def array_arguments(
    *, count: int, name: str, token: str, root: Path, options: Options, lead_s: int
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


def program(python: str, root: Path, options: Options, arguments: Sequence[str]) -> list[str]:
    """Return the job script and what it is to run, in the container if there is one."""
    box = options.container
    if box is None:
        return [str(JOB_SCRIPT), options.python or python, *arguments]
    mounts = [str(root), *box.mounts]
    if box.kind == "pyxis":
        if any("," in mount for mount in mounts):
            raise BadValue("mounts", mounts, "paths without commas: pyxis lists them")
        listed = ",".join(mount if ":" in mount else f"{mount}:{mount}" for mount in mounts)
        into = ["srun", "--ntasks=1", f"--container-image={box.image}",
                f"--container-mounts={listed}", f"--container-workdir={root}"]  # fmt: skip
    else:
        binds = [word for mount in mounts for word in ("--bind", mount)]
        into = ["apptainer", "exec", "--nv", *binds, "--pwd", str(root), box.image]
    return [str(JOB_SCRIPT), *into, box.python, *arguments]
