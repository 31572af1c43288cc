"""Prompts and answers against the longest sequence that a server takes."""

from collections.abc import Iterable, Mapping, Sequence

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import checkpoint_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_args import last_values
from strategies.vllm_numbers import tokens_or_auto
from workloads.load.profiles import parse_workload
from workloads.load.workload import Workload

LONGER = ("--hf-overrides", "--rope-scaling", "--rope-parameters", "--rope-theta")
"""Arguments of vLLM that can give a model another context than its config says."""
ALLOW_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


def longest_allowed(setup: Setup, model: Model) -> int:
    """Tokens of the longest sequence a setup's server takes; 0 where that is not known.

    The context of the checkpoint that is loaded, less where `--max-model-len` says so, more where
    the server is told to allow it. A server that runs already knows its own.
    """
    if setup.endpoint:
        return 0
    context = checkpoint_of(setup, model).max_context
    asked = _max_model_len(setup.server_args)
    if _may_be_longer(setup):
        return asked
    return min(asked or context, context) if context else asked


def beyond_context(
    experiment: Experiment, setups: Iterable[Setup], models: Mapping[str, Model]
) -> dict[Setup, tuple[str, ...]]:
    """Say which workloads have sequences beyond what each setup's server takes.

    A workload that none of the setups takes raises BadValue, with the numbers.
    """
    workloads = [parse_workload(text) for text in experiment.workloads]
    longest = {setup: longest_allowed(setup, models[setup.model]) for setup in setups}
    for workload in workloads:
        if longest and all(_is_beyond(workload, most) for most in longest.values()):
            most, name = max((most, setup.model) for setup, most in longest.items())
            given = f"{workload.input_len}:{workload.output_len} on {name}"
            allowed = f"prompt and answer of {most} tokens together, not {_tokens(workload)}"
            raise BadValue("--workload", given, allowed)
    return {
        setup: tuple(
            f"{workload.name}: prompt and answer are {_tokens(workload)} tokens, its longest "
            f"sequence has {most}"
            for workload in workloads
            if _is_beyond(workload, most)
        )
        for setup, most in longest.items()
    }


def unknown_contexts(setups: Iterable[Setup], models: Mapping[str, Model]) -> str:
    """Name the models whose context is not known; empty without such."""
    named = dict.fromkeys(
        setup.model
        for setup in setups
        if not setup.endpoint and not longest_allowed(setup, models[setup.model])
    )
    if not named:
        return ""
    return f"context of {', '.join(named)} not known: lengths are not checked against it"


def _tokens(workload: Workload) -> int:
    return workload.input_len + workload.output_len


def _is_beyond(workload: Workload, most: int) -> bool:
    return 0 < most < _tokens(workload)


def _may_be_longer(setup: Setup) -> bool:
    if dict(setup.server_env).get(ALLOW_LONG, "0") not in ("", "0"):
        return True
    words = [word.split("=", 1)[0].replace("_", "-") for word in setup.server_args]
    return any(word == flag or word.startswith(f"{flag}.") for word in words for flag in LONGER)


def _max_model_len(args: Sequence[str]) -> int:
    """Return the last `--max-model-len`; 0 without one, or where it is not a number."""
    spellings = ("--max-model-len", "--max_model_len")
    (asked,) = last_values(args, spellings, example="--max-model-len=8192")
    try:
        return tokens_or_auto(asked or "auto") or 0
    except ValueError:
        return 0
