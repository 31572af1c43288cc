"""A characterisation's results directory: each run is published once, whole, when it is done.

DIR/diffusion.json         what was asked, and of which machine; another study is refused
DIR/answers/RUN.json       a finished run: one configuration in one round
DIR/environments/HASH.json machine and software the runs were made with
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import msgspec

from catalog.errors import BadValue, ResultsError
from catalog.inside import own_folder, read_inside
from diffusion_study.measure import CaseRun, DecodingCase, Generation
from orchestrator.host.environment import describe
from orchestrator.host.files import publish_once, write_durably
from orchestrator.results.disk_space import check_disk_space, storage_errors
from orchestrator.results.store import Store, refuse_changes, refuse_other

SCHEMA_VERSION = 1
StructT = TypeVar("StructT")
WAY_OUT = "moved away, the same command makes it again"
MACHINE = ("device", "cpu", "cpus", "threads", "torch", "transformers")


class DiffusionStudy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured and where; a directory holds one."""

    schema: int = SCHEMA_VERSION
    models: tuple[str, ...]
    points: tuple[str, ...]
    """Each as SWEEP STEPS:LENGTH."""
    experts: tuple[str, ...]
    kv_caches: tuple[str, ...]
    commit_above: tuple[float | None, ...]
    block_length: int
    prompt_length: int
    num_runs: int
    seed: int
    dtype: str
    trust_remote_code: bool
    revision: str | None
    device: str
    """Its hardware's name."""
    cpu: str
    cpus: int | None
    threads: int
    torch: str
    transformers: str

    @property
    def default_directory(self) -> Path:
        """Name a directory after what is studied: the same command finds its own results again."""
        given = msgspec.to_builtins(self)
        named = {k: v for k, v in given.items() if k not in (*MACHINE, "schema", "num_runs")}
        digest = hashlib.sha256(msgspec.json.encode({**named, "device": self.device}))
        return Path("results") / f"diffusion-{digest.hexdigest()[:8]}"


class GenerationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finished run as it is published."""

    schema: int = SCHEMA_VERSION
    model: str
    round: int
    configuration: dict[str, str | int | float | None]
    passes_s: tuple[float, ...]
    tokens: tuple[int, ...]
    operations: int
    dtype: str
    """Of the weights as they were loaded."""
    environment: str
    """Its file in environments/."""


class DiffusionStore:
    """The directory of one study."""

    def __init__(self, root: Path, study: DiffusionStudy) -> None:
        self.root, self.study = root, study
        self._environment = ""

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make the directory, or check that it holds this study; nobody else works in it then."""
        self._check_same()
        store = Store(self.root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in ("answers", "environments"):
                own_folder(self.root, folder)
            write_durably(self._asked, msgspec.json.format(msgspec.json.encode(self.study)))
        except OSError as error:
            allowed = f"a writable directory: {error.strerror or error}"
            raise BadValue("--result-dir", str(self.root), allowed) from error
        check_disk_space(self.root, ())
        with storage_errors(self.root), store.locked():
            self._environment = store.keep_environment(describe())
            yield

    def publish(self, model: str, run: CaseRun, answer: Generation, dtype: str) -> None:
        record = GenerationRecord(
            model=model,
            round=run.round,
            configuration=_configuration(run.case),
            passes_s=answer.passes_s,
            tokens=answer.tokens,
            operations=answer.operations,
            dtype=dtype,
            environment=self._environment,
        )
        publish_once(self._path(model, run), msgspec.json.encode(record))

    def records(self, model: str, runs: Iterable[CaseRun]) -> dict[CaseRun, GenerationRecord]:
        """Read those of the runs that are finished."""
        paths = {run: self._path(model, run) for run in runs}
        return {
            run: self._record(model, run, path)
            for run, path in paths.items()
            if os.path.lexists(path)
        }

    def _record(self, model: str, run: CaseRun, path: Path) -> GenerationRecord:
        """Read a run's file, which must be of this very run."""
        found = _read(self.root, path, GenerationRecord)
        of = (found.model, found.round, found.configuration)
        if of != (model, run.round, _configuration(run.case)):
            raise ResultsError(f"{path}: is of another run; {WAY_OUT}")
        if not found.passes_s:
            raise ResultsError(f"{path}: has no forward pass; {WAY_OUT}")
        return found

    def _path(self, model: str, run: CaseRun) -> Path:
        named = [model, _configuration(run.case)]
        digest = hashlib.sha256(msgspec.json.encode(named, order="deterministic"))
        return self.root / "answers" / f"{digest.hexdigest()[:16]}-r{run.round}.json"

    @property
    def _asked(self) -> Path:
        return self.root / "diffusion.json"

    def _check_same(self) -> None:
        refuse_other(self.root, "experiment.json", "an experiment of moeserve run")
        if os.path.lexists(self._asked):
            old = _read(self.root, self._asked, DiffusionStudy)
            refuse_changes(self.root, msgspec.to_builtins(old), msgspec.to_builtins(self.study))


def answers_of(records: Mapping[CaseRun, GenerationRecord]) -> dict[CaseRun, Generation]:
    return {run: Generation(r.tokens, r.passes_s, r.operations) for run, r in records.items()}


def _configuration(case: DecodingCase) -> dict[str, str | int | float | None]:
    return {**asdict(case.point), **asdict(case.options)}


def _read(root: Path, path: Path, kind: type[StructT]) -> StructT:
    data = read_inside(root, path.relative_to(root).as_posix())
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{path}: is damaged: {error}; {WAY_OUT}") from error
