"""The plan of an experiment whose servers run on a cluster's nodes, not on this host."""

from catalog.errors import BadValue
from orchestrator.engines.registry import resolve
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, Pool, make_plan
from slurm.options import Options
from slurm.several import spreadable


async def remote_plan(experiment: Experiment, options: Options) -> tuple[Plan, str]:
    """Return the plan and the engine; nothing of this host's GPUs matters."""
    pool = pool_of(experiment, options)
    if experiment.endpoint or experiment.engine == "endpoint":
        from orchestrator.study import prepare

        study = await prepare(experiment)
        return study.plan, study.engine
    name = experiment.engine
    if name == "auto":
        name = "vllm" if pool else resolve(experiment)[0]
    if name != "vllm":
        return make_plan(experiment, name), name
    pool = pool or Pool("CPU")
    plan = make_plan(experiment, name, pool=Pool(pool.hardware))
    return spreadable(plan, pool, experiment.ray), name


def pool_of(experiment: Experiment, options: Options) -> Pool | None:
    """Return the GPUs that real servers get; None if nobody has said that there are any."""
    if experiment.endpoint or experiment.engine == "simulated":
        return None
    named = options.hardware or (next(iter(options.gpus)) if len(options.gpus) == 1 else None)
    asked = experiment.hardware
    if named is None and asked is None:
        if options.gpus or options.gpu_type:
            listed = ", ".join(options.gpus) or "A100-80GB, H100, …"
            raise BadValue("--hardware", "nothing", f"the GPU that servers get: {listed}")
        return None
    fallback = asked if isinstance(asked, str) else None
    return Pool(named or fallback or "", options.gpus_per_node)
