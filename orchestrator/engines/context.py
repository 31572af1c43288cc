"""Prompts and answers against the longest sequence that a server takes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from catalog.errors import BadValue
from catalog.models import Model
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import checkpoint_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_args import last_values
from strategies.vllm_numbers import tokens_or_auto
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
    longest = {setup: longest_allowed(setup, models[setup.model]) for setup in setups}
    asked = {setup: workloads_of(experiment, setup.model) for setup in longest}
    for at_once in zip(*asked.values(), strict=True):
        found = zip(at_once, longest.values(), strict=True)
        if all(_is_beyond(workload, most) for workload, most in found):
            _refuse(at_once, longest)
    return {
        setup: tuple(
            f"{workload.name}: prompt and answer are {workload.longest_tokens} tokens, its "
            f"longest sequence has {most}"
            for workload in asked[setup]
            if _is_beyond(workload, most)
        )
        for setup, most in longest.items()
    }


def _refuse(at_once: Sequence[Workload], longest: Mapping[Setup, int]) -> NoReturn:
    """Raise BadValue for a workload that the setup of the longest context does not take."""
    setup, most = max(longest.items(), key=lambda each: (each[1], each[0].model))
    workload = at_once[list(longest).index(setup)]
    raise _too_long(workload, setup.model, most)


def check_context(workload: Workload, model: Model) -> None:
    """Raise BadValue for a workload beyond the context of a model, where that is known."""
    if _is_beyond(workload, model.max_context):
        raise _too_long(workload, model.name, model.max_context)


def _too_long(workload: Workload, model: str, most: int) -> BadValue:
    lengths = f"{workload.input_len}:{workload.output_len}"
    what = workload.longest_at or workload.name if workload.parts else lengths
    allowed = f"prompt and answer of {most} tokens together, not {workload.longest_tokens}"
    return BadValue("--workload", f"{what} on {model}", allowed)


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


def _is_beyond(workload: Workload, most: int) -> bool:
    return 0 < most < workload.longest_tokens


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
