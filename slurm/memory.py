"""A Slurm in memory: queue, arrays, throttle, dependencies, accounts; its faults are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from catalog.errors import ClusterError
from slurm.command import Limits, NoAnswer
from slurm.parse import Seen, TaskId, parse_indices
from slurm.states import state_of

Program = Callable[[Sequence[str], Mapping[str, str]], int]
"""Runs a job's command with Slurm's variables and returns its exit code."""

DEFAULT_LIMITS = Limits(
    cluster="memory",
    version="22.05.8",
    max_array_size=1001,
    max_job_count=10_000,
    kill_wait_s=30.0,
    accounting=True,
)


@dataclass(slots=True)
class _Task:
    index: int | None
    state: str = "PENDING"
    exit_code: str = "0:0"
    restarts: int = 0


@dataclass(slots=True)
class _Job:
    job: int
    name: str
    tasks: list[_Task]
    throttle: int | None
    after: tuple[int, ...]
    command: tuple[str, ...]


@dataclass
class MemorySlurm:
    """A cluster of unlimited nodes; nothing runs until it is told to `work`."""

    given: Limits = DEFAULT_LIMITS
    silent: int = 0
    """How many of the next questions stay without an answer."""
    forgetful: int = 0
    """How many of the next submissions are taken without an answer."""
    most_at_once: int = 0
    """The largest number of tasks that were running at one time."""
    _jobs: dict[int, _Job] = field(default_factory=dict)

    async def limits(self) -> Limits:
        self._answer()
        return self.given

    async def submit(self, arguments: Sequence[str]) -> int:
        self._answer()
        job = self._take(arguments)
        if self.forgetful:
            self.forgetful -= 1
            raise NoAnswer("sbatch: error: Socket timed out on send/recv operation")
        return job

    async def queue(self, names: Sequence[str] = ()) -> list[Seen]:
        self._answer()
        active = [seen for seen in self._seen() if state_of(seen.state) in ("pending", "running")]
        return active if not names else [seen for seen in self._seen() if seen.name in names]

    async def accounts(self, names: Sequence[str], _: str, /) -> list[Seen] | None:
        self._answer()
        if not self.given.accounting:
            return None
        return [seen for seen in self._seen() if seen.name in names]

    async def cancel(self, jobs: Sequence[str]) -> None:
        self._answer()
        for job in jobs:
            for task in self._jobs[int(job)].tasks:
                if state_of(task.state) in ("pending", "running"):
                    task.state = "CANCELLED"

    def set(self, job: int, index: int, state: str, exit_code: str = "0:0") -> None:
        """Let a task be in this state, whatever it was doing."""
        task = next(task for task in self._jobs[job].tasks if task.index == index)
        task.state, task.exit_code = state, exit_code

    def requeue(self, job: int, index: int) -> None:
        """Put a task back into the queue; it will run with a higher restart count."""
        self.set(job, index, "PENDING")
        task = next(task for task in self._jobs[job].tasks if task.index == index)
        task.restarts += 1

    def work(self, program: Program) -> None:
        """Run everything that may run, one task after the other, until the queue is empty."""
        while batch := list(self._ready()):
            self.most_at_once = max(self.most_at_once, len(batch))
            for _, task in batch:
                task.state = "RUNNING"
            for job, task in batch:
                code = program(job.command, _variables(job, task))
                if task.state == "RUNNING":
                    task.state = "FAILED" if code else "COMPLETED"
                    task.exit_code = f"{code}:0"

    def _ready(self) -> Iterator[tuple[_Job, _Task]]:
        for job in self._jobs.values():
            waits_for = [t for each in job.after for t in self._jobs[each].tasks]
            if any(state_of(task.state) in ("pending", "running") for task in waits_for):
                continue
            pending = [task for task in job.tasks if task.state == "PENDING"]
            yield from ((job, task) for task in pending[: job.throttle])

    def _take(self, arguments: Sequence[str]) -> int:
        options = dict(w[2:].partition("=")[::2] for w in arguments if w.startswith("--"))
        indices, _, throttle = options.get("array", "").partition("%")
        numbers = parse_indices(indices)
        if numbers and max(numbers) >= self.given.max_array_size:
            raise ClusterError("sbatch: error: Batch job submission failed: Invalid job array")
        script = next(i for i, word in enumerate(arguments) if not word.startswith("--"))
        after = options.get("dependency", "").removeprefix("afterany:")
        job = max(self._jobs, default=0) + 1
        self._jobs[job] = _Job(
            job=job,
            name=options["job-name"],
            tasks=[_Task(number) for number in numbers] or [_Task(None)],
            throttle=int(throttle) if throttle else None,
            after=tuple(int(each) for each in after.split(":") if each),
            command=tuple(arguments[script + 1 :]),
        )
        return job

    def _seen(self) -> Iterator[Seen]:
        for job in self._jobs.values():
            for task in job.tasks:
                seen_id = TaskId(job.job, task.index)
                yield Seen(seen_id, job.name, task.state, exit_code=task.exit_code)

    def _answer(self) -> None:
        if self.silent:
            self.silent -= 1
            raise NoAnswer("Unable to contact slurm controller (connect failure)")


def _variables(job: _Job, task: _Task) -> dict[str, str]:
    variables = {"SLURM_JOB_ID": str(job.job), "SLURMD_NODENAME": "memory1"}
    if task.index is not None:
        variables["SLURM_ARRAY_JOB_ID"] = str(job.job)
        variables["SLURM_ARRAY_TASK_ID"] = str(task.index)
    if task.restarts:
        variables["SLURM_RESTART_COUNT"] = str(task.restarts)
    return variables
