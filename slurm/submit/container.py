"""The image of a site profile: what it holds, how a job enters it, and what is refused at submit.

Without `python` the image holds the server alone, as stock images do: the job runs moeserve on the
node and starts each server in a container (`orchestrator/host/container.py`), on one node or many.
With `python` the image holds moeserve too, and the whole task runs in there, on one node.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from catalog.errors import BadValue, UnknownName
from orchestrator.engines.kind import EngineKind
from orchestrator.host import container as of_server
from slurm.submit.names import EXPORT, check_path

RUNTIMES = tuple(of_server.RUNTIMES)


class Container(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image, and how it is entered."""

    kind: str
    """`pyxis`, `apptainer` or `podman`."""
    image: str
    """As that runtime takes it: a path, `docker://vllm/vllm-openai:v0.11.0`, a name."""
    mounts: tuple[str, ...] = ()
    """`SOURCE`, `SOURCE:TARGET` or `SOURCE:TARGET:OPTIONS`, besides results, model cache and
    scratch, which are mounted where they are."""
    python: str | None = None
    """The interpreter of an image that holds moeserve; None where the server alone is in it."""
    seen_here: bool = True
    """Whether image and mounts can be seen where one submits; false on the nodes' own disks."""

    def __post_init__(self) -> None:
        if self.kind not in RUNTIMES:
            raise UnknownName("container runtime", self.kind, RUNTIMES)
        for text in (self.image, self.python or "", *self.mounts):
            check_path("container", text)
        if not self.image or self.image.startswith("-"):
            raise BadValue("container.image", self.image, "a path or a name of an image")
        for mount in self.mounts:
            _check_mount(mount)

    def of_server(self, root: Path, scratch: str, export: Sequence[str]) -> of_server.Container:
        """Return what a task hands to whoever starts its servers."""
        mounts = (*self.mounts, str(root), scratch)
        return of_server.Container(
            kind=self.kind, image=self.image, mounts=mounts, export=tuple(export)
        )


def _check_mount(mount: str) -> None:
    parts = mount.split(":")
    absolute = parts[0].startswith(("/", "$")) and all(p.startswith("/") for p in parts[1:2])
    if not absolute or len(parts) > 3 or "," in mount:
        allowed = "SOURCE, SOURCE:TARGET or SOURCE:TARGET:OPTIONS, absolute and without commas"
        raise BadValue("container.mounts", mount, allowed)


def check_container(box: Container, kind: EngineKind) -> None:
    """Refuse, BadValue, what cannot work in any task; `kind` is whose servers are to run."""
    if kind.virtual:
        return
    if box.python is None and not kind.in_an_image:
        allowed = "an image that holds moeserve, and container.python: its interpreter; the server "
        raise BadValue("container", str(box.image), f"{allowed}of {kind.name} is moeserve's own")
    if not box.seen_here:
        return
    unseen = "one that is there, or container.seen_here: false for what only the nodes see"
    path = _image_path(box)
    if path is not None and not path.is_absolute():
        raise BadValue("container.image", box.image, "an absolute path")
    if path is not None and not path.exists():
        raise BadValue("container.image", box.image, unseen)
    for mount in box.mounts:
        source = mount.partition(":")[0]
        if not source.startswith("$") and not Path(source).exists():
            raise BadValue("container.mounts", source, unseen)


def _image_path(box: Container) -> Path | None:
    """Return where an image lies; None for one that a registry or a store knows by name."""
    text = box.image
    if box.kind == "apptainer":
        return None if "://" in text else Path(text)
    if box.kind == "podman":
        scheme, colon, rest = text.partition(":")
        archive = scheme in ("oci-archive", "docker-archive", "oci", "dir")
        text = rest.partition(":")[0] if colon and archive else text
    return Path(text) if text.startswith(("/", ".", "~", "$")) else None


def whole_task(box: Container, root: Path, scratch: str, export: Sequence[str]) -> list[str]:
    """Return the words that run a whole task in an image, up to the image's own Python."""
    assert box.python is not None
    hub = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    own = [str(root), *([str(hub)] if hub.is_dir() else []), *_fixed(scratch)]
    mounts = [m if ":" in m else f"{m}:{m}" for m in dict.fromkeys((*own, *box.mounts))]
    if box.kind == "pyxis":
        into = ["srun", "--ntasks=1", f"--container-image={box.image}",
                f"--container-mounts={','.join(mounts)}", f"--container-workdir={root}",
                "--no-container-entrypoint"]  # fmt: skip
        return [*into, box.python]
    if box.kind == "apptainer":
        binds = [word for mount in mounts for word in ("--bind", mount)]
        return ["apptainer", "exec", "--nv", *binds, "--pwd", str(root), box.image, box.python]
    kept = [name for name in EXPORT if name not in ("HOME", "PATH", "LD_LIBRARY_PATH")]
    names = [*kept, *export, "SLURM_*", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES"]
    return [
        *("podman", "run", "--rm", "--network=host", "--ipc=host", "--pid=host", "--ulimit=host"),
        *("--security-opt=label=disable", "--device", "nvidia.com/gpu=all"),
        *(word for mount in mounts for word in ("--volume", mount)),
        *(word for name in names for word in ("--env", name)),
        *(f"--workdir={root}", "--entrypoint=", box.image, box.python),
    ]


def _fixed(scratch: str) -> list[str]:
    """A folder that is the same in every job can be mounted before there is one."""
    return [] if "$" in scratch else [scratch]
