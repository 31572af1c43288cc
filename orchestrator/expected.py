"""How long a server group is expected to take, before anything is started."""

from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import Plan


def expected_wall_s(plan: Plan, group: ServerGroup) -> float | None:
    """Start-up and the model's estimate of every run; None for a server we know nothing of."""
    kind = engine_kind(group.setup.engine)
    runs_s = kind.run_seconds(group, group.runs, plan.models[group.setup.model])
    known = [each for each in runs_s if each is not None]
    return kind.start_s + sum(known) if len(known) == len(runs_s) else None
