"""The command line of one llama.cpp server."""

from orchestrator.engine import LaunchContext
from orchestrator.engines.llamacpp.checks import weights_file
from orchestrator.experiment.asked import longest_of
from orchestrator.experiment.cells import load_points
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from strategies.technique import Technique

ALL_LAYERS = "999"
BLOCK_TOKENS = 256
"""llama.cpp rounds a slot's context to a multiple of this."""
SPARE_TOKENS = 2
"""A slot whose context is full by its last token but one calls the answer truncated."""
SLOTS_WITHOUT_CAP = 32
"""For arrivals at a rate with no cap on the concurrency: further requests wait in the server."""


def llamacpp_command(
    group: ServerGroup, context: LaunchContext, *, base: list[str], port: int, served_name: str
) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    technique = group.setup.technique
    slots = slots_of(context.experiment)
    on_cpu = group.setup.hardware == "CPU"
    return [
        *base,
        *("--model", str(weights_file(technique))),
        *("--alias", served_name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots)),
        *("--ctx-size", str(slots * slot_tokens(context.experiment, context.model.name))),
        *(("--device", "none") if on_cpu else ("--n-gpu-layers", ALL_LAYERS)),
        *host_experts(technique),
        # A repeated prompt from the cache would not be the workload that was asked for.
        *("--no-cache-prompt", "--cache-ram", "0"),
        *("--metrics", "--no-webui"),
        *context.experiment.server.args,
    ]


def host_experts(technique: Technique) -> tuple[str, ...]:
    """Return the flags of experts that stay in host memory and are computed there."""
    knobs = technique.knobs("host-experts")
    if knobs is None:
        return ()
    return ("--n-cpu-moe", knobs["layers"]) if "layers" in knobs else ("--cpu-moe",)


def slots_of(experiment: Experiment) -> int:
    """Return the requests that are decoded at once: the highest concurrency asked for."""
    caps = [load.max_concurrency for load in load_points(experiment)]
    return max(SLOTS_WITHOUT_CAP if cap is None else cap for cap in caps)


def slot_tokens(experiment: Experiment, model: str) -> int:
    """Return the context of a slot: the longest prompt with its answer, in whole blocks."""
    longest = longest_of(experiment, model)
    return -(-(longest + SPARE_TOKENS) // BLOCK_TOKENS) * BLOCK_TOKENS
