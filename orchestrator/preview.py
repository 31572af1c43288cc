"""What a study would do, as rows: one a server, with its command line and expected time."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from orchestrator.engine import LaunchContext
from orchestrator.engines.registry import engine_kind
from orchestrator.expected import expected_wall_s
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import Study
from orchestrator.results.record import ColumnValue


def preview(study: Study) -> Iterator[dict[str, ColumnValue]]:
    """Yield a row for every server group, in the order they would be started."""
    for group in study.plan.groups:
        setup = group.setup
        yield {
            "server_group": group.group_id,
            "engine": setup.engine,
            "model": setup.model,
            "strategy": setup.strategy,
            "technique": setup.technique.name,
            "num_gpus": group.num_gpus,
            "gpu_type": setup.hardware,
            "runs": len(group.runs),
            "requests": sum(run.cell.num_prompts for run in group.runs),
            "expected_wall_s": expected_wall_s(study.plan, group),
            "command": _command(study, group),
        }


def expected_makespan_s(study: Study) -> float | None:
    """Estimate when everything is over; None where some server's time is unknown."""
    if study.plan.experiment.launcher == "ray":
        from orchestrator.cluster.launch import makespan_s  # Ray is loaded where it is asked for

        return makespan_s(study)
    walls_s = [expected_wall_s(study.plan, group) for group in study.plan.groups]
    known = [wall_s for wall_s in walls_s if wall_s is not None]
    return sum(known) if len(known) == len(walls_s) else None


def _command(study: Study, group: ServerGroup) -> str:
    """The command line of a server that will be started; empty where none is."""
    kind = engine_kind(group.setup.engine)
    if kind.command is None or kind.virtual:
        return ""
    context = LaunchContext(study.plan.experiment, study.plan.models[group.setup.model], Path())
    words = kind.command(group, context, 0, "NAME").words
    return shlex.join(words).replace("--port 0", "--port PORT")
