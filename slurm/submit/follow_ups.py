"""The jobs after a study: each a command of moeserve's own, outside of any container."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from slurm.submit.arrays import bookkeeping, program
from slurm.submit.job_script import FOLLOW_UP, script_path
from slurm.submit.names import SITES_OWN
from slurm.submit.options import SubmitOptions
from slurm.submit.submission import FollowUp

MEMORY = "4G"
OF_TASKS = ("--gres", "--gpu", "--exclusive", "--mem", "--cpus", "--node", "--exclude",
            "--constraint", "--ntasks", "--begin", "--tmp")  # fmt: skip
"""Beginnings of options that are about a study's tasks: what follows needs none of that."""


def follow_ups(
    then: Sequence[str], token: str, *, root: Path, options: SubmitOptions, rounds: int
) -> tuple[FollowUp, ...]:
    """Return the jobs that come after the arrays, one after the other."""
    again = ["--retry", "--rounds", str(rounds)] if rounds else []
    commands = {
        "collect": ["slurm", "collect", str(root), *again],
        "report": ["report", str(root), "-o", str(root / "report.html")],
    }
    # A container has no sbatch in it, and what follows needs none of its engine.
    outside = msgspec.structs.replace(options, container=None)
    script = script_path(root, token, options.follow_up_setup, FOLLOW_UP)
    found = []
    for what in then:
        name = options.job_name.replace("{job}", f"moeserve-{token}-{what}")
        words = program(
            sys.executable, root, outside, ["-P", "-m", "moeserve", *commands[what]], script
        )
        arguments = [
            *bookkeeping(name, token, root, options),
            *_place(options),
            f"--output=slurm/{token}/logs/{what}.log",
            *words,
        ]
        found.append(FollowUp(name=name, arguments=tuple(arguments)))
    return tuple(found)


def _place(options: SubmitOptions) -> list[str]:
    own = options.follow_up
    place = {
        "partition": own.partition or options.partition,
        "account": own.account or options.account,
        "qos": own.qos or options.qos,
        "mem": _memory(options),
        "nodes": 1,
        "ntasks": 1,
        "time": own.time,
    }
    words = [f"--{option}={value}" for option, value in place.items() if value is not None]
    kept = [option for option in options.sbatch if not option.startswith(OF_TASKS)]
    return [*words, *(kept if own.sbatch is None else own.sbatch)]


def _memory(options: SubmitOptions) -> str | int | None:
    """Return what to ask for, unless the site takes no such request, or takes it otherwise."""
    own = options.follow_up
    if any(option.startswith("--mem") for option in own.sbatch or ()):
        return None
    if own.memory is None:
        return None if options.memory == SITES_OWN else MEMORY
    return None if own.memory == SITES_OWN else own.memory
