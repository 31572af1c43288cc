"""The results directory of an experiment that names none."""

import hashlib
from pathlib import Path

import msgspec

from orchestrator.experiment.experiment import NOT_STUDIED, Experiment


def default_directory(experiment: Experiment) -> Path:
    """Name a directory after what is studied: the same command finds its own results again.

    What is left at its default is no part of the name, so that a new setting renames nothing.
    """
    studied = msgspec.structs.replace(experiment, num_runs=1)
    given, usual = msgspec.to_builtins(studied), msgspec.to_builtins(Experiment())
    usual["models"] = usual["models"] if studied.models else []
    named = {k: v for k, v in given.items() if v != usual[k] and k not in NOT_STUDIED}
    digest = hashlib.sha256(msgspec.json.encode(named, order="deterministic")).hexdigest()
    return Path("results") / f"{experiment.name}-{digest[:8]}"
