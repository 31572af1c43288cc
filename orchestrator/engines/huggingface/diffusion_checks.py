"""What the diffusion engine may be asked, checked before anything is started or loaded."""

from collections.abc import Mapping

from catalog.dtypes import with_dtype
from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_dtypes import requested_dtype
from servers.huggingface.diffusion.memory import check_memory
from servers.huggingface.diffusion.options import parse_options


def check_diffusion(
    experiment: Experiment, models: Mapping[str, Model], *, free_bytes: float | None
) -> None:
    """Refuse steps, lengths and memory that the diffusion engine cannot serve.

    `free_bytes` are those of the GPU; None is a server on this host's CPU.
    """
    options = parse_options(experiment.server.args)
    for name, model in models.items():
        for workload in workloads_of(experiment, name):
            if workload.parts:
                allowed = "one length of prompts and one of answers with --engine diffusion"
                raise BadValue("--workload", workload.name, allowed)
            if workload.output_len > 1:  # one token is one pass, whatever the steps
                options.check_even(workload.output_len)
            tokens = workload.longest_tokens
            held = with_dtype(model, requested_dtype(experiment.server.args)) or model
            check_memory(held, options, tokens, available_bytes=free_bytes)
