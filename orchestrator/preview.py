"""What a study would do, as rows: one a server, with its command line and expected time."""

from collections.abc import Iterator

from orchestrator.engines.base import Site
from orchestrator.engines.command import find_command, server_command
from orchestrator.engines.simulated import estimated_seconds
from orchestrator.experiment import ONE_DEVICE
from orchestrator.plan import ServerGroup
from orchestrator.study import Study
from orchestrator.table import Value
from strategies.technique import parse_technique

START_S = 120.0
"""An allowance for a server to be ready: loading, compiling, capturing graphs."""
VIRTUAL_RUN_S = 0.02
"""What one run in virtual time takes with its record."""


def preview(study: Study) -> Iterator[dict[str, Value]]:
    """Yield a row for every server group, in the order they would be started."""
    for group in study.plan.groups:
        setup = group.setup
        yield {
            "server_group": group.group_id,
            "engine": setup.engine,
            "model": setup.model,
            "strategy": setup.strategy,
            "technique": setup.technique,
            "num_gpus": group.num_gpus,
            "gpu_type": setup.hardware,
            "runs": len(group.runs),
            "requests": sum(run.cell.num_prompts for run in group.runs),
            "expected_wall_s": expected_wall_s(study, group),
            "command": _command(study, group),
        }


def expected_makespan_s(study: Study) -> float | None:
    """Estimate when everything is over; None where some server's time is unknown."""
    if study.plan.experiment.launcher == "ray":
        from orchestrator.cluster.launch import makespan_s

        return makespan_s(study)
    walls_s = [expected_wall_s(study, group) for group in study.plan.groups]
    known = [wall_s for wall_s in walls_s if wall_s is not None]
    return sum(known) if len(known) == len(walls_s) else None


def expected_wall_s(study: Study, group: ServerGroup) -> float | None:
    """Start-up and the model's estimate of every run; None for a server we know nothing of."""
    setup = group.setup
    if setup.engine in ("endpoint", *ONE_DEVICE) or setup.hardware == "CPU":
        return None
    if setup.engine == "simulated":
        return VIRTUAL_RUN_S * len(group.runs)
    if not parse_technique(setup.technique).possible_on("simulated"):
        return None
    return START_S + estimated_seconds(group, study.plan.models[setup.model])


def _command(study: Study, group: ServerGroup) -> str:
    import shlex
    from pathlib import Path

    site = Site(study.plan.experiment, study.plan.models[group.setup.model], Path())
    words = _words(group, site)
    return shlex.join(words).replace("--port 0", "--port PORT")


def _words(group: ServerGroup, site: Site) -> list[str]:
    """The command line of a server that will be started; none for the other engines."""
    engine = group.setup.engine
    if engine == "transformers":
        from orchestrator.engines.transformers import transformers_command

        return transformers_command(group, site, port=0, served_name="NAME")
    if engine == "diffusion":
        from orchestrator.engines.diffusion import diffusion_command

        return diffusion_command(site, port=0, served_name="NAME")
    if engine == "llamacpp":
        from orchestrator.engines.llamacpp_command import llamacpp_command
        from orchestrator.llamacpp_plan import require_server

        base = require_server(site.experiment)
        return llamacpp_command(group, site, base=base, port=0, served_name="NAME")
    if engine == "vllm":
        base = list(site.experiment.server.command) or find_command() or ["vllm", "serve"]
        return server_command(group, site, base=base, port=0, served_name="NAME")
    return []
