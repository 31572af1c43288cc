"""What to do where Slurm refuses a submission: what it has taken all the same, and the way out."""

from collections.abc import Collection, Iterator

from slurm.submit.submission import Submission

TOO_MUCH = ("More processors requested", "Memory specification", "node configuration is not")
"""Slurm's words for more than its nodes have."""
NO_SUCH_GPU = ("generic resource", "node configuration is not")
"""And for a GPU that none of them has under this name."""
TOO_MANY = ("job submit limit", "MaxSubmitJob")
NO_MEMORY = ("--mem", "memory by node")
"""Of sites where memory goes with CPUs or GPUs: the words are their own plugins'."""
TOO_LONG = ("time limit", "MaxWall")
GPUS = ("--gres=gpu", "--gpus-per-")
FOLLOW_UPS = (
    "the study's tasks are in the queue, what follows them is not: `follow_up:` has a partition, "
    "qos, memory and time of its own, and the same command then submits that"
)


def way_out(words: str, submission: Submission, taken: Collection[str]) -> str:
    """Return what to add to Slurm's words; empty where they say it all.

    `taken` has the names of the jobs that it took before it refused.
    """
    arrays = [array for array in submission.arrays if array.name not in taken]
    if submission.arrays and not arrays:
        return FOLLOW_UPS
    return "; ".join((*_ways(words, submission), *_in_queue(submission, len(arrays))))


def _in_queue(submission: Submission, refused: int) -> Iterator[str]:
    count = len(submission.arrays)
    if refused < count:
        yield (
            f"{count - refused} of {count} arrays are in the queue, and the same command submits "
            "only the others"
        )


def _ways(words: str, submission: Submission) -> Iterator[str]:
    if any(each in words for each in TOO_MUCH):
        yield from _less(submission)
    if any(each in words for each in NO_SUCH_GPU):
        yield from _as_gpus(submission)
    if any(each in words for each in TOO_MANY):
        yield (
            "max_submit: N, in the profile or the study's `slurm:`, holds tasks back that the "
            "queue has no room for"
        )
    if any(each in words for each in NO_MEMORY):
        yield "memory: default asks for none, and sbatch: [--mem-per-cpu=SIZE] in another way"
    if any(each in words for each in TOO_LONG):
        yield "--time asks for less, and with --rounds N a task does what fits, the next the rest"


def _as_gpus(submission: Submission) -> Iterator[str]:
    asked = [word for a in submission.arrays for word in a.arguments if word.startswith(GPUS)]
    if asked:
        yield (
            f"GPUs are asked for as {', '.join(dict.fromkeys(asked))}: `sinfo -o %G` has this "
            "site's names for --gpu-type, and gpu_request other ways to ask"
        )


def _less(submission: Submission) -> Iterator[str]:
    if not submission.arrays:
        return
    words = submission.arrays[0].arguments
    asked = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    cpus, memory = asked.get("cpus-per-task", "no"), asked.get("mem", "no")
    yield f"a task asks for {cpus} CPUs and {memory} memory: --cpus and --memory ask for less"
    if nodes := asked.get("exclude"):
        yield (
            f"{nodes} are left out by --exclude: those on which tasks failed, a new "
            "`moeserve slurm submit` asks for again"
        )
    most = max(array.gpus for array in submission.arrays)
    if most >= 2 and not submission.options.gpus_per_node and submission.pool is not None:
        # Nobody said how large nodes are, so that each group is asked for on one.
        name = submission.pool.hardware or next(iter(submission.options.gpus), "GPU")
        yield (
            f"up to {most} GPUs are asked for on one node: gpus: {{{name}: {{per_node: N}}}} says "
            "how many a node has, and larger layouts are then spread over several"
        )
