"""A Slurm in memory: queue, arrays, throttle, dependencies, accounts; its faults are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from catalog.errors import ClusterError
from slurm.scheduler.command import SlurmConfig, SlurmUnreachable
from slurm.scheduler.parse import JobInfo, TaskId, parse_indices
from slurm.scheduler.states import state_of

Program = Callable[[Sequence[str], Mapping[str, str]], int]
"""Runs a job's command with Slurm's variables and returns its exit code."""

DEFAULT_CONFIG = SlurmConfig(
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
    forgotten: bool = False


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

    slurm_config: SlurmConfig = DEFAULT_CONFIG
    silent: int = 0
    """How many of the next questions stay without an answer."""
    away: set[str] = field(default_factory=set)
    """Commands that get no answer; `slurmctld` and `slurmdbd` are those that ask it."""
    forgetful: int = 0
    """How many of the next submissions are taken without an answer."""
    most_at_once: int = 0
    """The largest number of tasks that were running at one time."""
    _jobs: dict[int, _Job] = field(default_factory=dict)

    async def config(self) -> SlurmConfig:
        self._answer("scontrol")
        return self.slurm_config

    async def submit(self, arguments: Sequence[str]) -> int:
        self._answer("sbatch")
        job = self._take(arguments)
        if self.forgetful:
            self.forgetful -= 1
            raise SlurmUnreachable("sbatch: error: Socket timed out on send/recv operation")
        return job

    async def queue(self, names: Sequence[str] = ()) -> list[JobInfo]:
        self._answer("squeue")
        active = [info for info in self._infos() if state_of(info.state) in ("pending", "running")]
        if not names:
            return active
        return [info for info in self._infos(queue=True) if info.name in names]

    async def accounting(self, names: Sequence[str], _: str, /) -> list[JobInfo] | None:
        self._answer("sacct")
        if not self.slurm_config.accounting:
            return None
        return [info for info in self._infos() if info.name in names]

    async def cancel(self, jobs: Sequence[str]) -> None:
        self._answer("scancel")
        for job in jobs:
            for task in self._jobs[int(job)].tasks:
                if state_of(task.state) in ("pending", "running"):
                    task.state = "CANCELLED"

    def set(self, job: int, index: int, state: str, exit_code: str = "0:0") -> None:
        """Let a task be in this state, whatever it was doing."""
        task = next(task for task in self._jobs[job].tasks if task.index == index)
        task.state, task.exit_code = state, exit_code

    def forget(self, job: int, index: int, state: str) -> None:
        """Let a task have ended so long ago that the accounts alone have it."""
        self.set(job, index, state)
        next(task for task in self._jobs[job].tasks if task.index == index).forgotten = True

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
        if numbers and max(numbers) >= self.slurm_config.max_array_size:
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

    def _infos(self, *, queue: bool = False) -> Iterator[JobInfo]:
        for job in self._jobs.values():
            for task in job.tasks:
                if queue and task.forgotten:
                    continue
                task_id = TaskId(job.job, task.index)
                yield JobInfo(task_id, job.name, task.state, exit_code=task.exit_code)

    def _answer(self, command: str) -> None:
        daemon = "slurmdbd" if command == "sacct" else "slurmctld"
        if self.away & {command, daemon}:
            raise SlurmUnreachable(f"{command}: Connection refused")
        if self.silent:
            self.silent -= 1
            raise SlurmUnreachable("Unable to contact slurm controller (connect failure)")


def _variables(job: _Job, task: _Task) -> dict[str, str]:
    variables = {"SLURM_JOB_ID": str(job.job), "SLURMD_NODENAME": "memory1"}
    if task.index is not None:
        variables["SLURM_ARRAY_JOB_ID"] = str(job.job)
        variables["SLURM_ARRAY_TASK_ID"] = str(task.index)
    if task.restarts:
        variables["SLURM_RESTART_COUNT"] = str(task.restarts)
    return variables
