"""How tasks are submitted, as a site profile, an experiment and flags say it."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import force_setattr

from catalog.errors import BadFile, BadValue
from orchestrator.experiment.document import explained
from orchestrator.experiment.hardware import canonical
from slurm.scheduler.command import check_duration
from slurm.submit.container import Container
from slurm.submit.job_script import check_setup
from slurm.submit.names import (
    check_comment,
    check_constraint,
    check_device,
    check_free_option,
    check_gres,
    check_job_name,
    check_memory,
    check_name,
    check_names,
    check_path,
    check_variable,
    expanded_path,
)
from strategies.own_gpus import is_hashed

GRES, TIME = "--gres=", "--time="
LISTS = ("sbatch", "export", "setup")
"""Options that add up; one may stand where a list is meant."""


class GpuOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to ask Slurm for one kind of GPU."""

    type: str | None = None
    """Slurm's own word for it, as in `gpu:a100`."""
    per_node: int | None = None
    constraint: str | None = None
    partition: str | None = None


class FollowUpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the jobs after a study run; None is as the study's tasks."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    memory: str | int | None = None
    """None is 4G, or nothing where the study asks for the site's own."""
    time: str | int = "1:00:00"
    sbatch: tuple[str, ...] | None = None
    """Instead of the study's own, of which those about GPUs, nodes and memory are left out."""
    setup: tuple[str, ...] | None = None
    """Instead of the study's own."""

    def __post_init__(self) -> None:
        if self.partition is not None:
            check_names("follow_up.partition", self.partition)
        for field in ("account", "qos"):
            if (text := getattr(self, field)) is not None:
                check_name(f"follow_up.{field}", text)
        if self.memory is not None:
            check_memory(str(self.memory))
        check_duration("follow_up.time", str(self.time))
        for option in self.sbatch or ():
            check_free_option(option)
        check_setup(self.setup or ())


class SubmitOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a submission may say; None leaves it to Slurm's own default."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    gpu_type: str | None = None
    gpu_request: Literal["gres", "gpus-per-node", "gpus-per-task", "none"] = "gres"
    """The option that asks for GPUs; none where nodes are whole, or the site's own way is in
    `sbatch`."""
    gpus: dict[str, GpuOptions] = {}
    """How to ask for each of the catalog's GPUs that this site has."""
    hardware: str | None = None
    """The catalog's name of the GPU of layouts that name none."""
    cpus: int | None = None
    """Of a task; None asks for what its servers need, where that is known."""
    memory: str | int | None = None
    """Of a task on each node, MiB without a unit; None asks for what its servers need, if known."""
    time: str | int | None = None
    """Limit of one task, in minutes or as H:MM:SS; None asks for what is estimated."""
    max_parallel: int | None = None
    max_submit: int | None = None
    """Most tasks of this user in the queue at once."""
    signal_lead_s: int = 180
    requeue: bool = False
    rehearse: bool = False
    """Ask for the GPUs of simulated servers too."""
    whole_nodes: bool = False
    """Take whole nodes, where a site bills by them; `ray.share_nodes` packs groups onto one."""
    container: Container | None = None
    setup: tuple[str, ...] = ()
    """Lines of bash that run before anything else in a job: `module load …`, `ulimit …`."""
    interface: str | None = None
    """The network interface over which servers on several nodes talk, as `ip link` has it."""
    ucx_devices: str | None = None
    """The devices that UCX is to use there: `mlx5_0:1`."""
    python: str | None = None
    """The interpreter on the nodes; None is this one."""
    scratch: str = "/tmp"  # noqa: S108 (a folder of the job's own is made in it)
    """Node-local disk for caches."""
    export: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = ()
    follow_up: FollowUpOptions = FollowUpOptions()
    """Of the jobs of `--then`, which need no GPU."""
    job_name: str = "{job}"
    """A template, for sites that want their own beginning: `project:{job}`."""
    comment: str = "moeserve:{token}"

    @property
    def further_gres(self) -> tuple[str, ...]:
        """What the user's own `--gres` asks for; it is asked for beside the GPUs."""
        asked = (o.partition("=")[2] for o in self.sbatch if o.startswith(GRES))
        return tuple(part for text in asked for part in text.split(",") if part)

    @property
    def other_options(self) -> tuple[str, ...]:
        """The user's options of sbatch but `--gres`."""
        return tuple(option for option in self.sbatch if not option.startswith(GRES))

    @property
    def follow_up_setup(self) -> tuple[str, ...]:
        """The setup lines of the jobs that follow a study."""
        own = self.follow_up.setup
        return self.setup if own is None else own

    @property
    def gpus_per_node(self) -> dict[str, int]:
        """By the catalog's names; unknown where a name is missing."""
        return {name: kind.per_node for name, kind in self.gpus.items() if kind.per_node}

    def __post_init__(self) -> None:
        named = {_recorded(name): kind for name, kind in self.gpus.items()}
        force_setattr(self, "gpus", named)
        if self.hardware is not None:
            force_setattr(self, "hardware", _recorded(self.hardware))
        for field in ("account", "qos", "gpu_type"):
            if (text := getattr(self, field)) is not None:
                check_name(field, text)
        for field in ("partition", "reservation"):
            if (text := getattr(self, field)) is not None:
                check_names(field, text)
        self._check_asked()
        self._check_places()

    def _check_asked(self) -> None:
        if self.constraint is not None:
            check_constraint(self.constraint)
        if self.memory is not None:
            force_setattr(self, "memory", check_memory(str(self.memory)))
        if self.time is not None:
            check_duration("time", str(self.time))
        for field in ("cpus", "max_parallel", "max_submit"):
            if (count := getattr(self, field)) is not None and count < 1:
                raise BadValue(field, count, "1 or more")
        if not 0 <= self.signal_lead_s <= 65535:
            raise BadValue("signal_lead_s", self.signal_lead_s, "0 to 65535")
        for name, kind in self.gpus.items():
            _check_gpus(name, kind)

    def _check_places(self) -> None:
        for name in self.export:
            check_variable(name)
        for option in self.sbatch:
            check_free_option(option)
        check_job_name(self.job_name)
        check_comment(self.comment)
        check_path("scratch", self.scratch)
        if self.python is not None:
            check_path("python", self.python)
        for field in ("interface", "ucx_devices"):
            if (text := getattr(self, field)) is not None:
                check_device(field, text)
        check_setup(self.setup)


def _check_gpu_option(option: str, request: str) -> None:
    """Refuse what would be a second request for GPUs, unless there is no first."""
    if request == "none":
        return
    if option.startswith(GRES):
        check_gres(option.partition("=")[2])
    elif option.startswith("--gpus") or (option.startswith("--tres-p") and "gpu" in option):
        allowed = "gpu_request: gpus-per-node or gpus-per-task; or none, with this option"
        raise BadValue("sbatch", option, allowed)


def _recorded(name: str) -> str:
    """The name that a GPU is recorded under; a user's own is told by its hash on any node."""
    return name if is_hashed(name) else canonical(name)


def _check_gpus(name: str, kind: GpuOptions) -> None:
    if kind.type is not None:
        check_name(f"gpus.{name}.type", kind.type)
    if kind.partition is not None:
        check_names(f"gpus.{name}.partition", kind.partition)
    if kind.constraint is not None:
        check_constraint(kind.constraint)
    if kind.per_node is not None and kind.per_node < 1:
        raise BadValue(f"gpus.{name}.per_node", kind.per_node, "1 or more")


def merge_options(*layers: Mapping[str, Any]) -> SubmitOptions:
    """Lay options over each other; lists are joined, everything else the last one decides."""
    together: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            listed = [value] if name in LISTS and isinstance(value, str) else value
            joined = name in LISTS and isinstance(listed, list | tuple)
            together[name] = [*together.get(name, ()), *listed] if joined else value
    try:
        options = msgspec.convert(together, SubmitOptions, strict=True)
    except msgspec.ValidationError as error:
        raise BadFile("slurm options", _explained(str(error))) from error
    # Here and not in the type: what an earlier version submitted must stay readable.
    for option in options.sbatch:
        _check_gpu_option(option, options.gpu_request)
    return _with_its_time(_with_whole_paths(options))


def _with_whole_paths(options: SubmitOptions) -> SubmitOptions:
    """Write paths of the user's home out; the scratch of a node keeps its variables."""
    python = None if options.python is None else expanded_path("python", options.python)
    scratch = os.path.expanduser(options.scratch)  # noqa: PTH111 (a variable may stand first)
    return msgspec.structs.replace(options, python=python, scratch=scratch)


def _explained(problem: str) -> str:
    """Say what may have been meant; what is no field here may be an option of sbatch's."""
    other = "; any other option of sbatch: `sbatch: [--OPTION=VALUE]`"
    return explained(problem, SubmitOptions) + other * ("unknown field" in problem)


def _with_its_time(options: SubmitOptions) -> SubmitOptions:
    """Take a limit among sbatch's own options for the limit: the signal ahead of it follows."""
    times = [option for option in options.sbatch if option.startswith(TIME)]
    if not times:
        return options
    others = tuple(option for option in options.sbatch if option not in times)
    return msgspec.structs.replace(options, sbatch=others, time=times[-1].removeprefix(TIME))
