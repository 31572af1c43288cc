"""A server started in a stock image: the command that enters it, and what crosses into it.

moeserve stays outside. A container begins at the server's own command, so the supervisor, the load
generator and the checks are those of a run without one, and the image needs nothing of ours. Flags
are those that pyxis (`srun --help`), apptainer-exec(1) and podman-run(1) document. Values of
variables cross by the environment and never in an argument, where every user of the node could
read them.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from catalog.errors import ServerStartFailed
from orchestrator.host.environment import GIVEN, launch_variables
from orchestrator.host.scratch import CACHES

RUNTIMES = {"pyxis": "srun", "apptainer": "apptainer", "podman": "podman"}
"""The program that each needs."""
LABEL = "moeserve"
FILTER = ("--filter", f"label={LABEL}")
TIDY_S = 20.0
HUB = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
OF_THE_HOST = {"PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "HOME"}
"""Where the host's programs are: in an image they would lead to others, or to nothing."""
NVIDIA, AMD = Path("/dev/nvidiactl"), Path("/dev/kfd")
# A step of a step must not take its parent's place for its own.
OF_THE_JOB = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_CLUSTER_NAME")


class Container(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image that holds a server, and nothing of moeserve."""

    kind: str
    """One of `RUNTIMES`."""
    image: str
    mounts: tuple[str, ...] = ()
    """`SOURCE`, `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`, variables in them; besides the folders
    of the server's log, of its caches, and what its arguments name."""
    export: tuple[str, ...] = ()
    """Names of further variables that cross."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.image}"


def given_container() -> Container | None:
    """Return the container that servers of this process are started in; None without one."""
    text = os.environ.get(GIVEN)
    return msgspec.json.decode(text, type=Container) if text else None


def enter(
    box: Container, command: Sequence[str], variables: Mapping[str, str], folder: Path, name: str
) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts a server in a container, and the environment it is run in.

    `variables` are those that the server is given, `folder` is where it works, `name` is the
    container's where it has one. ServerStartFailed (`CONTAINER`) where the runtime or a mount is
    not on this node.
    """
    program = RUNTIMES[box.kind]
    if shutil.which(program) is None:
        raise _refused(f"{program} is not on PATH (a setup line may load it)")
    inside = {**_crossing(box), **variables}
    try:
        mounts = _mounts(box, command, folder)
    except OSError as error:
        raise _refused(str(error)) from error
    for mount in mounts:
        if not Path(source := mount.partition(":")[0]).exists():
            raise _refused(f"there is no {source} to mount")
    words = {"pyxis": _pyxis, "apptainer": _apptainer, "podman": _podman}[box.kind]
    into = words(box, mounts, inside, folder)
    if box.kind == "podman":
        into[2:2] = [f"--name={name}", f"--label={LABEL}"]
    return [*into, *command], _environment(box, inside)


def tidy(box: Container, name: str) -> None:
    """Remove what a container that has ended left in its runtime's store, others' of ours too.

    Podman's `--rm` does not get there where it is ended along with the server.
    """
    if box.kind != "podman":
        return
    for words in (["rm", "--force", "--ignore", name], ["container", "prune", "--force", *FILTER]):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["podman", *words], capture_output=True, timeout=TIDY_S, check=False)


def _environment(box: Container, inside: Mapping[str, str]) -> dict[str, str]:
    """The variables of the runtime itself."""
    own = dict(os.environ)
    if box.kind == "apptainer":
        # --cleanenv keeps the host's PYTHONPATH and the like out; what has this beginning crosses.
        own |= {f"APPTAINERENV_{name}": value for name, value in inside.items()}
    if box.kind == "pyxis":
        own = {n: v for n, v in own.items() if n in OF_THE_JOB or not n.startswith("SLURM")}
    return {**own, **inside}


def _crossing(box: Container) -> dict[str, str]:
    """Return the variables of this process that a server in a container is given.

    Those that steer how it computes (the same that are recorded), where models and caches lie, and
    the profile's `export`.
    """
    names = {*HUB, *CACHES, *VISIBLE, *box.export} - OF_THE_HOST
    own = {name: os.environ[name] for name in sorted(names) if name in os.environ}
    return {**launch_variables(), **own, "HF_HOME": str(_hub()), "PYTHONNOUSERSITE": "1"}


def _hub() -> Path:
    return Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()


def _mounts(box: Container, command: Sequence[str], folder: Path) -> list[str]:
    """The user's mounts, then what a server needs and none of those has already."""
    asked = [os.path.expandvars(mount) for mount in box.mounts]
    caches = [Path(os.environ[name]) for name in CACHES if name in os.environ]
    for cache in (_hub(), *caches):
        cache.mkdir(parents=True, exist_ok=True)
    hub = [Path(os.environ["HF_HUB_CACHE"])] if "HF_HUB_CACHE" in os.environ else []
    wanted = [folder.absolute(), _hub(), *hub, *caches, *_named(command)]
    have = [Path(mount) for mount in asked if ":" not in mount]
    for path in sorted(dict.fromkeys(wanted), key=lambda path: len(path.parts)):
        if not any(path == each or each in path.parents for each in have):
            have.append(path)
            asked.append(str(path))
    return [mount if ":" in mount else f"{mount}:{mount}" for mount in asked]


def _named(command: Sequence[str]) -> Iterable[Path]:
    """Files and folders that a server's arguments name: its checkpoint, a template."""
    for word in command:
        path = Path(word.partition("=")[2] if word.startswith("-") else word)
        if path.is_absolute() and path.exists():
            yield path


def _pyxis(
    box: Container, mounts: Sequence[str], inside: Mapping[str, str], folder: Path
) -> list[str]:
    names = ",".join(sorted(inside))
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")
    gpus = [f"{name}={inside[name]}" for name in VISIBLE if name in inside]
    return [
        *("srun", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={_node()}"),
        *((f"--cpus-per-task={cpus}",) if cpus else ()),
        # All others stay outside. The image's PATH holds as it is, its own of the rest give way.
        *(f"--export=HOME,PATH,{names}", f"--container-env={names}"),
        *(f"--container-image={box.image}", f"--container-mounts={','.join(mounts)}"),
        *(f"--container-workdir={folder}", "--no-container-entrypoint"),
        # Slurm tells a step of all GPUs of the job again.
        *(("env", *gpus) if gpus else ()),
    ]


def _apptainer(
    box: Container, mounts: Sequence[str], _: Mapping[str, str], folder: Path
) -> list[str]:
    binds = [word for mount in mounts for word in ("--bind", mount)]
    gpus = ["--nv"] if NVIDIA.exists() else ["--rocm"] if AMD.exists() else []
    return ["apptainer", "exec", "--cleanenv", *gpus, *binds, "--pwd", str(folder), box.image]


def _podman(
    box: Container, mounts: Sequence[str], inside: Mapping[str, str], folder: Path
) -> list[str]:
    gpus = ["--device", "nvidia.com/gpu=all"] if NVIDIA.exists() else []
    gpus += ["--device", "/dev/kfd", "--device", "/dev/dri"] if AMD.exists() else []
    return [
        *("podman", "run", "--rm", "--network=host", "--ipc=host", "--pid=host"),
        *("--ulimit=host", "--security-opt=label=disable", *gpus),
        *(word for mount in mounts for word in ("--volume", mount)),
        *(word for name in sorted(inside) for word in ("--env", name)),
        *(f"--workdir={folder}", "--entrypoint=", box.image),
    ]


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _refused(why: str) -> ServerStartFailed:
    return ServerStartFailed(f"CONTAINER: {socket.gethostname()}: {why}", stage="launch")
