"""Which GPUs a study's servers get: those of this host, of one kind, or ones that are elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catalog.errors import BadValue, Infeasible, ServerStartFailed
from catalog.gpu_row import MARK
from catalog.hardware import Gpu
from catalog.hardware_table import name_key
from orchestrator.engines.kind import Cpu, EngineKind
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.hardware import canonical, gpus_of
from orchestrator.experiment.server_group import Pool
from orchestrator.host.devices import Device, Inventory, inventory

CPU = "CPU"


@dataclass(frozen=True, slots=True)
class Here:
    """What a plan is made for."""

    devices: tuple[Device, ...] = ()
    """GPUs of this host, all of one kind; none where servers compute on the CPU."""
    elsewhere: Pool | None = None
    """GPUs that are named and not here: for a plan that is not run on this host."""
    notice: str = ""


def look_here(experiment: Experiment, kind: EngineKind, *, planning: bool = False) -> Here:
    """Find the GPUs for an experiment's servers.

    Raises Infeasible for a GPU that cannot be used, or for none where the engine has no CPU;
    ServerStartFailed where the engine is not here either; BadValue for a GPU that is not here, or
    for none named of several kinds. A plan may be for GPUs that are not here.
    """
    if kind.devices == "none":
        return Here()
    own, found = gpus_of(experiment.own_gpus), inventory()
    kinds = _by_kind(found.devices, own)
    named = {_recorded(name, own, kinds) for name in _asked(experiment)}
    if named == {CPU}:
        return _on_cpu(kind.cpu(experiment), planning=planning)
    if not named and not kinds:
        return _without_gpu(experiment, kind, found)
    mine = kinds.get(next(iter(named or kinds))) if len(named or kinds) == 1 else None
    if mine is not None:
        return Here(mine, notice=_other_build(kind.cpu(experiment), planning=planning))
    here = _listed(kinds) or found.why
    if not named:
        raise BadValue("--hardware", "nothing", f"one of the kinds here: {here}")
    listed = ", ".join(sorted(named))
    if planning:
        pool = Pool(listed if len(named) == 1 else "")
        return Here(elsewhere=pool, notice=f"planned for {listed} elsewhere ({here})")
    hint = "; its row lists in driver_names what it describes" if MARK in listed else ""
    raise BadValue("--hardware", listed, f"what is here: {here}{hint}")


def _asked(experiment: Experiment) -> list[str]:
    asked = experiment.hardware
    return [asked] if isinstance(asked, str) else [] if asked is None else list(asked.values())


def _recorded(name: str, own: Sequence[Gpu], kinds: Iterable[str]) -> str:
    """Return the name that a GPU is recorded under; a kind that is here may have no row."""
    same = (here for here in kinds if name_key(here) == name_key(name))
    return next(same, None) or canonical(name, own=own)


def _by_kind(found: Sequence[Device], own: Sequence[Gpu]) -> dict[str, tuple[Device, ...]]:
    kinds: dict[str, tuple[Device, ...]] = {}
    for device in found:
        name = device.known_as(own)
        kinds[name] = (*kinds.get(name, ()), device)
    return kinds


def _listed(kinds: dict[str, tuple[Device, ...]]) -> str:
    return ", ".join(
        f"{name} (GPU {', '.join(device.visible_as for device in mine)})"
        for name, mine in kinds.items()
    )


def _without_gpu(experiment: Experiment, kind: EngineKind, found: Inventory) -> Here:
    """Take the CPU where it is certain that servers compute there."""
    cpu = kind.cpu(experiment)
    if cpu.only:
        note = f"on the CPU, for which {cpu.told} is built: {found.trouble}"
        return Here(notice=note if found.trouble else "")
    if found.trouble:
        raise Infeasible(
            f"no GPU can be used: {found.trouble}. --hardware CPU computes on the CPU all the same"
        )
    if cpu.able:
        return Here()
    told = (
        f"{found.absent}, and {cpu.told}. moeserve plan --hardware H100 plans for GPUs that are "
        "elsewhere, --engine simulated needs none"
    )
    if cpu.missing:
        raise ServerStartFailed(f"SERVER_MISSING: {told}", stage="launch")
    raise Infeasible(told)


def _on_cpu(cpu: Cpu, *, planning: bool) -> Here:
    """Take the CPU as asked, unless the engine is known to have no use for it."""
    if cpu.able is False and not planning:
        raise BadValue("--hardware", CPU, f"a GPU: {cpu.told}")
    return Here()


def _other_build(cpu: Cpu, *, planning: bool) -> str:
    """Say, or refuse to go on for, a build that would leave the GPUs alone."""
    if not cpu.only:
        return ""
    told = f"{cpu.told} computes on the CPU alone: install the build for the GPU here"
    if planning:
        return told
    raise Infeasible(f"{told}, or say --hardware CPU")
