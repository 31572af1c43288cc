"""Submissions as files: written before sbatch is called, so that nothing is submitted twice.

DIR/slurm/TOKEN/submission.json     what each array's tasks are to do; never changed
DIR/slurm/TOKEN/task.sh             the job script, where the site's profile has setup lines for it
DIR/slurm/TOKEN/jobs/NAME.json      the job id that Slurm assigned to an array
DIR/slurm/TOKEN/tasks/ATTEMPT.jsonl the journal of each attempt at a task
DIR/slurm/TOKEN/logs/JOB_TASK.log   output of a task, all its attempts one after the other
"""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from catalog.errors import BadFile, BadValue, ResultsError
from catalog.inside import own_folder, read_inside
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import Pool
from orchestrator.host.files import publish_once
from orchestrator.plan import Plan, make_plan
from slurm.submit.job_script import FOLLOW_UP, TASK, script_text
from slurm.submit.multinode import only_spreadable
from slurm.submit.options import SubmitOptions

SCHEMA_VERSION = 1
T = TypeVar("T")


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The GPUs that the plan was made for, so that a task makes the same one."""

    hardware: str
    gpus_per_node: dict[str, int] = {}


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server group."""

    group_id: str
    expected_s: float | None
    """Wall time of the runs still missing, servers' start included; None if nothing is known."""
    run_s: float | None
    """Of its longest run."""
    start_s: float = 0.0
    """Of the expected time, what passes before the first run."""
    index: int | None = None
    """Its task of the array, where several groups run in one; None is its place in the list."""


class ArraySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Server groups whose tasks ask Slurm for the same."""

    name: str
    arguments: tuple[str, ...]
    """Of sbatch, but for what is known only then: the dependency."""
    tasks: tuple[TaskSpec, ...]
    gpus: int = 0
    """That a task is billed for, on all its nodes."""
    price_per_hour_usd: float | None = None
    """Of one of them, as it was when this was submitted."""

    @property
    def by_index(self) -> dict[int, tuple[TaskSpec, ...]]:
        """The groups of each task, by the task's index."""
        found: dict[int, tuple[TaskSpec, ...]] = {}
        for place, spec in enumerate(self.tasks):
            index = place if spec.index is None else spec.index
            found[index] = (*found.get(index, ()), spec)
        return found


class FollowUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job for when all arrays have ended, however they ended."""

    name: str
    arguments: tuple[str, ...]


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of `moeserve slurm submit`."""

    schema: int = SCHEMA_VERSION
    token: str
    submitted_at: str
    """UTC, ISO 8601."""
    engine: str
    experiment: Experiment
    served: str = ""
    """The model of a server that already runs."""
    pool: PoolSpec | None
    cluster: str = ""
    """What Slurm calls itself that was given it; empty of earlier versions' submissions."""
    uid: int | None = None
    """Whose jobs they are; not known of earlier versions' submissions."""
    options: SubmitOptions
    kill_wait_s: float
    arrays: tuple[ArraySpec, ...]
    chained: bool = False
    """Each array waits for the one before, so that a throttle holds over all of them."""
    follow_ups: tuple[FollowUp, ...] = ()
    then: tuple[str, ...] = ()
    """What the follow-ups do, so that what is submitted again is followed by the same."""
    rounds: int = 0
    """How often the follow-up may submit again what is missing."""

    def plan(self) -> Plan:
        """Make the plan again that this submission was made from."""
        if self.pool is None:
            return make_plan(self.experiment, self.engine, served=self.served)
        pool = Pool(self.pool.hardware, self.pool.gpus_per_node)
        plan = make_plan(self.experiment, self.engine, pool=Pool(pool.hardware))
        return only_spreadable(plan, pool, self.experiment.ray)


class SubmittedJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The job id that Slurm assigned."""

    name: str
    job: int


def new_token() -> str:
    """Return a name that no other submission has: jobs are found again by it.

    Names sort by the time of submission, also when a retry follows within the same second.
    """
    return datetime.now(UTC).strftime("%y%m%d%H%M%S%f") + secrets.token_hex(3)


def scripts(options: SubmitOptions) -> dict[str, str]:
    """Return the texts of a submission's own job scripts by name."""
    setups = {TASK: options.setup, FOLLOW_UP: options.follow_up_setup}
    return {name: script_text(lines) for name, lines in setups.items() if lines}


class SubmissionStore:
    """The submissions of one results directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "slurm"

    def write(self, submission: Submission) -> None:
        """Write the submission's file and make its folders."""
        home = self.folder / submission.token
        for name in ("jobs", "tasks", "logs"):
            own_folder(self.root, "slurm", submission.token, name)
        for name, text in scripts(submission.options).items():
            publish_once(home / name, text.encode())
        publish_once(home / "submission.json", msgspec.json.encode(submission))

    def record_job(self, token: str, job: SubmittedJob) -> None:
        path = self.folder / token / "jobs" / f"{job.name}.json"
        publish_once(path, msgspec.json.encode(job))

    def job_ids(self, token: str) -> dict[str, int]:
        """Return the job id of every array and follow-up that Slurm has taken, by name."""
        found = (self.folder / token / "jobs").glob("*.json")
        jobs = [_decode(self.root, path, SubmittedJob) for path in sorted(found)]
        return {each.name: each.job for each in jobs}

    def submissions(self) -> list[Submission]:
        """Every submission, oldest first."""
        found = sorted(self.folder.glob("*/submission.json"))
        return [_decode(self.root, path, Submission) for path in found]

    def check(self) -> "SubmissionStore":
        """Refuse a directory from which nothing was ever submitted."""
        if not any(self.folder.glob("*/submission.json")):
            raise BadFile(self.root, "nothing was submitted from here by moeserve slurm submit")
        return self

    def submission(self, token: str) -> Submission:
        if not token.isalnum():
            raise BadValue("token", token, "letters and digits")
        return _decode(self.root, self.folder / token / "submission.json", Submission)


def _decode(root: Path, path: Path, kind: type[T]) -> T:
    try:
        data = read_inside(root, path.relative_to(root).as_posix())
        return msgspec.json.decode(data, type=kind)
    except FileNotFoundError:
        raise BadFile(path, "no such submission") from None
    except (msgspec.ValidationError, BadValue) as error:
        told = "is of another version of moeserve: the nodes need the one that submits and looks"
        raise ResultsError(f"{path}: {told} ({error})") from error
    except (msgspec.DecodeError, OSError) as error:
        raise ResultsError(f"{path}: is damaged: {error}") from error
