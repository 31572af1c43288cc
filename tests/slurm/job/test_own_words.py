"""Why a part of a job's Ray did not come up, in the words of that part."""

import pytest

from slurm.job.ray_allocation import own_words

SAVED = "Process exit logs will be saved to: /tmp/ray/session_x/logs/ray_process_exit.log"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (f"Local node IP: 10.0.0.2\nConnectionError: no route to 10.0.0.1:6379\n{SAVED}\n",
         "ConnectionError: no route to 10.0.0.1:6379"),
        ("INFO node.py:438 -- Failed to get node info b'RPC error: Deadline Exceeded'\n"
         "Traceback (most recent call last):\n    raise Exception(\n"
         "Exception: The current node timed out during startup.\n"
         "srun: error: node2: task 0: Exited with exit code 1\n",
         "Exception: The current node timed out during startup."),
        (f"Usage stats are off\nit stands there\n{SAVED}\n", "it stands there"),
        ("srun: error: Unable to create step for job 7: Memory required by task is not available\n",
         "srun: error: Unable to create step for job 7: Memory required by task is not available"),
        (f"{SAVED}\n", SAVED),
        ("", "it says nothing"),
    ],
)  # fmt: skip
def test_the_reason_is_the_part_s_own_line_and_not_where_it_keeps_its_logs(
    log: str, words: str
) -> None:
    assert own_words(log) == words
