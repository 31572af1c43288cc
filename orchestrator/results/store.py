"""The results directory: attempts write beside each other, a finished run is published once.

DIR/experiment.json                what was asked; another experiment is refused
DIR/planned.json                   what was going to be done, by run id: for `moeserve watch`
DIR/runs/RUN.json                  a finished run: its record, and the hashes of its files
DIR/failed/ATTEMPT.json            an attempt that failed or was interrupted, and why
DIR/failed/….traceback.txt         where a fault of moeserve's own was, of an attempt or a start
DIR/attempts/ATTEMPT/…             request rows of each attempt
DIR/servers/START/server.log       the log of each server start
DIR/environments/HASH.json         machine and software the runs were made with
DIR/bundles/NUMBER-CRC.parquet     many of these files in one, once `moeserve results compact` ran
"""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadValue, ChangedExperiment, ResultsError
from catalog.inside import lock_file, own_folder, read_inside
from orchestrator.experiment.experiment import NOT_STUDIED, Experiment
from orchestrator.host.files import publish_once, write_durably
from orchestrator.results.bundles import bundles_of
from orchestrator.results.bundling import move_bundled
from orchestrator.results.contents import names_in, read_stored
from orchestrator.results.manifests import Manifest, StoredFile, read_all
from orchestrator.results.masked import masked, masked_record
from orchestrator.results.record import Verdict
from workloads.load.build import comparable
from workloads.load.profiles import TEXTS

FOLDERS = ("runs", "failed", "attempts", "servers", "environments")
MOST_STORED_BYTES = 8_000_000_000
WAY_OUT = (
    "Give another directory with -o, or --fresh to start over (the old results are moved aside)."
)
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Store:
    """One experiment's results on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def manifests(self) -> Path:
        return self.root / "runs"

    def create(self, experiment: Experiment) -> None:
        """Make the directory, or check that it holds this experiment."""
        refuse_other(self.root, "diffusion.json", "a study of moeserve diffusion")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in FOLDERS:
                own_folder(self.root, folder)
            _check_same(self.root, experiment)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadValue(
                "--result-dir", str(self.root), f"a writable directory: {reason}"
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second moeserve on this host out of the directory.

        Where the file system has no locks, only work may be done twice: publication needs none.
        """
        with lock_file(self.root / ".lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                allowed = "one run at a time: another one is working in this directory"
                raise BadValue("--result-dir", str(self.root), allowed) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            yield

    def finished(self) -> set[str]:
        """Ids of the runs that are published."""
        return {name.removesuffix(".json") for name in names_in(self.root, "runs")}

    def new_attempt(self, run_id: str) -> tuple[int, Path]:
        """Make the folder of the next attempt at a run; return its number and the folder."""
        return self._numbered("attempts", f"{run_id}.a")

    def new_server_folder(self, group_id: str) -> Path:
        """Make the folder of one server start, for its log."""
        return self._numbered("servers", f"{group_id}.")[1]

    def _numbered(self, folder: str, prefix: str) -> tuple[int, Path]:
        """Make `prefix` + the first free number; mkdir decides between two who want the same."""
        number, taken = 1, bundles_of(self.root).taken
        while True:
            path = self.root / folder / f"{prefix}{number}"
            with contextlib.suppress(FileExistsError):
                if f"{folder}/{path.name}" not in taken:
                    path.mkdir()
                    return number, path
            number += 1

    def publish(self, manifest: Manifest) -> bool:
        """Publish a finished run; False when another attempt at it was first."""
        path = self.manifests / f"{manifest.record.run_id}.json"
        if bundles_of(self.root).has(f"runs/{path.name}"):
            return False
        return publish_once(path, _encoded(manifest))

    def set_aside(self, verdict: Verdict) -> list[str]:
        """Take back the publication of runs with a verdict, so that they are done again.

        Such a run becomes an attempt that failed: its files stay, and so does its row until
        another attempt has one. Return the ids.
        """
        there = read_all(self.root, "runs")
        taken = [each.record for each in there if each.record.verdict == verdict]
        moved = {
            f"runs/{each.run_id}.json": f"failed/{each.run_id}.a{each.attempt}.json"
            for each in taken
        }
        move_bundled(self.root, moved)
        for name, target in moved.items():
            with contextlib.suppress(FileNotFoundError):  # it lay in a bundle alone
                (self.root / name).replace(self.root / target)
        return [each.run_id for each in taken]

    def failed_attempts(self, run_id: str) -> Iterator[bytes]:
        """Yield the records of a run's attempts that failed, as they are stored."""
        start = f"{run_id}.a"
        for name in names_in(self.root, "failed"):
            if name.startswith(start) and name[len(start) : -len(".json")].isdigit():
                yield read_stored(self.root, f"failed/{name}")

    def record_failure(self, manifest: Manifest) -> None:
        record = manifest.record
        path = self.root / "failed" / f"{record.run_id}.a{record.attempt}.json"
        write_durably(path, _encoded(manifest))

    def traceback_file(self, attempt: str) -> Path:
        """Return where the traceback of a fault of ours goes, beside the record of the failure."""
        return self.root / "failed" / f"{attempt}.traceback.txt"

    def stored(self, path: Path) -> StoredFile:
        """Describe a file of an attempt for its manifest."""
        name = path.relative_to(self.root).as_posix()
        data = read_inside(self.root, name, most_bytes=MOST_STORED_BYTES)
        return StoredFile(
            path=name,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def keep_environment(self, environment: dict[str, Any]) -> str:
        """Store a description of the machine once, and return its name."""
        data = msgspec.json.encode(masked(environment), order="deterministic")
        name = hashlib.sha256(data).hexdigest()[:16]
        publish_once(self.root / "environments" / f"{name}.json", data)
        return name


def _encoded(manifest: Manifest) -> bytes:
    """Write a manifest with its secrets masked; hashes and codes are moeserve's own words."""
    record = masked_record(manifest.record)
    kept = msgspec.structs.replace(manifest, record=record, details=masked(manifest.details))
    return msgspec.json.encode(kept)


def fresh_directory(root: Path) -> Path | None:
    """Move an old results directory aside, so that nothing is lost; return where it went."""
    if not root.exists():
        return None
    number = 1
    while (aside := root.with_name(f"{root.name}.old{number}")).exists():
        number += 1
    return root.rename(aside)


def _check_same(root: Path, experiment: Experiment) -> None:
    path = root / "experiment.json"
    try:
        data = read_inside(root, path.name)
    except FileNotFoundError:
        if os.access(root, os.W_OK):
            write_durably(path, msgspec.json.format(msgspec.json.encode(experiment)))
        return
    try:
        old = msgspec.json.decode(data, type=Experiment)
    except (msgspec.DecodeError, BadValue, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{path}: is damaged: {error}") from error
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(experiment)
    for fields, one in ((before, old), (after, experiment)):
        fields["endpoint_options"] = one.endpoint_options.studied
        fields["workloads"] = [comparable(text, TEXTS) for text in one.workloads]
    refuse_changes(root, before, after, ignored={*NOT_STUDIED, "name"})
    if experiment.num_runs > old.num_runs:
        write_durably(path, msgspec.json.format(msgspec.json.encode(experiment)))


def refuse_other(root: Path, name: str, what: str) -> None:
    """Raise ChangedExperiment where the directory holds the results of another command."""
    if (root / name).exists():
        raise ChangedExperiment(f"{root} holds {what}. {WAY_OUT}")


def refuse_changes(
    root: Path,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    ignored: Collection[str] = (),
) -> None:
    """Raise ChangedExperiment with what differs; more replicates of the same study do not."""
    more = after["num_runs"] >= before["num_runs"]
    changes = [
        f"{field} was {before[field]!r}, now {after[field]!r}"
        for field in before
        if before[field] != after[field] and field not in ignored
        if not (more and field == "num_runs")
    ]
    if changes:
        raise ChangedExperiment(f"{root} holds another experiment: {'; '.join(changes)}. {WAY_OUT}")
