"""The plan of an experiment whose servers run on a cluster's nodes, not on this host."""

from catalog.errors import BadValue
from orchestrator.engines.kind import EngineKind
from orchestrator.engines.registry import engine_kind, resolve
from orchestrator.experiment import AUTO
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import Pool
from orchestrator.plan import Plan, make_plan
from orchestrator.study import prepare
from slurm.submit.multinode import only_spreadable
from slurm.submit.options import SubmitOptions

THE_GPU = "the GPU that servers get: "


async def remote_plan(experiment: Experiment, options: SubmitOptions) -> tuple[Plan, str]:
    """Return the plan and the engine; nothing of this host's GPUs matters."""
    pool = pool_of(experiment, options)
    kind, _ = resolve(experiment, gpus=pool is not None)
    if kind.running_model:
        study = await prepare(experiment)
        return study.plan, study.engine
    if kind.devices == "none":
        return make_plan(experiment, kind.name), kind.name
    pool = pool or _on_cpu(experiment, kind)
    plan = make_plan(experiment, kind.name, pool=Pool(pool.hardware))
    return only_spreadable(plan, pool, experiment.ray), kind.name


def _on_cpu(experiment: Experiment, kind: EngineKind) -> Pool:
    """Give servers no GPU where none was named, if they are known to do without."""
    cpu = kind.cpu(experiment)
    if not (cpu.only or cpu.able):
        why = f"; {cpu.told}" if cpu.told else ""
        raise BadValue("--hardware", "nothing", f"{THE_GPU}A100-80GB, H100, …, or CPU{why}")
    return Pool("CPU")


def pool_of(experiment: Experiment, options: SubmitOptions) -> Pool | None:
    """Return the GPUs that real servers get; None if none were named."""
    if experiment.endpoint or (experiment.engine != AUTO and _needs_none(experiment.engine)):
        return None
    named = options.hardware or (next(iter(options.gpus)) if len(options.gpus) == 1 else None)
    requested = experiment.hardware
    if named is None and requested is None:
        if options.gpus or options.gpu_type:
            listed = ", ".join(options.gpus) or "A100-80GB, H100, …"
            raise BadValue("--hardware", "nothing", f"{THE_GPU}{listed}")
        return None
    fallback = requested if isinstance(requested, str) else None
    return Pool(named or fallback or "", options.gpus_per_node)


def _needs_none(engine: str) -> bool:
    return engine_kind(engine).devices == "none"
