"""Slurm's job states, and what each means for a task."""

from typing import Literal

State = Literal["held back", "pending", "running", "done", "failed", "cancelled", "gone", "unknown"]
"""`gone`: Slurm answered and has no such task any more; `unknown`: nobody says if it has."""
ACTIVE = ("pending", "running")
SETUP_FAILED = "moeserve: SETUP_FAILED:"
"""What the job script says of a setup line."""

PENDING = frozenset(
    ("PENDING", "CONFIGURING", "EXPEDITING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
     "SPECIAL_EXIT", "RESV_DEL_HOLD")
)  # fmt: skip
RUNNING = frozenset(
    ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING",
     "POWER_UP_NODE")
)  # fmt: skip
FAILED: dict[str, str] = {
    "BOOT_FAIL": "NODE_FAIL",
    "DEADLINE": "TIME_LIMIT",
    "FAILED": "FAILED",
    "LAUNCH_FAILED": "FAILED",
    "RECONFIG_FAIL": "FAILED",
    "NODE_FAIL": "NODE_FAIL",
    "OUT_OF_MEMORY": "OUT_OF_MEMORY",
    "PREEMPTED": "PREEMPTED",
    "TIMEOUT": "TIME_LIMIT",
}
"""Class of failure by the state that Slurm reports."""
STATES = ("CANCELLED", "COMPLETED", *PENDING, *RUNNING, *FAILED)


def _word(slurm_state: str) -> str:
    """Return the state itself: of `CANCELLED by 1000`, and of one cut to a column, `OUT_OF_ME+`."""
    word = (slurm_state.split() or [""])[0]
    beginning = word.rstrip("+")
    if beginning == word:
        return word
    whole = [name for name in STATES if name.startswith(beginning)]
    return whole[0] if len(whole) == 1 else beginning


def state_of(slurm_state: str) -> State:
    """Return a task's state; what Slurm calls COMPLETED is done only by the task's own record."""
    word = _word(slurm_state)
    if word in PENDING:
        return "pending"
    if word in RUNNING:
        return "running"
    if word == "CANCELLED":
        return "cancelled"
    return "failed" if word in FAILED else "unknown"


def may_be_active(slurm_state: str) -> bool:
    """Return whether a task in this state waits or runs, or does in a state not known here."""
    return state_of(slurm_state) in ACTIVE or class_of(slurm_state, "", "") == "UNKNOWN"


def class_of(slurm_state: str, exit_code: str, log_tail: str) -> str:
    """Name how a task ended that could not say so itself."""
    word = _word(slurm_state)
    if word == "CANCELLED":
        return "CANCELLED"
    # The queue, unlike the accounts, does not tell the exit code.
    killed = not exit_code or exit_code.endswith(":9") or exit_code.startswith("137")
    # Without cgroups Slurm kills for memory with signal 9 and says so in the output alone.
    if word == "FAILED" and killed and "exceeded" in log_tail and "memory limit" in log_tail:
        return "OUT_OF_MEMORY"
    if word == "FAILED" and SETUP_FAILED in log_tail:  # the program could not start either
        return "SETUP_FAILED"
    if word == "COMPLETED":
        return "NO_RECORD"
    return FAILED.get(word, "UNKNOWN")


def unknown_because(slurm_state: str) -> str:
    """Say why a state of Slurm's does not tell whether a task waits, runs or has ended."""
    if slurm_state.startswith("REVOKED"):
        return "another cluster of the federation has it"
    return f"Slurm calls it {slurm_state or 'nothing'}, which is not known here"
