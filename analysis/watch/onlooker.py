"""What a results directory says of a study that may be under way, read again and again.

Nothing is written and nothing locked: the study may run here, on another node, or be over. A file
that was read once is not read again, for a run that is published never changes.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from analysis.data.order import rank
from analysis.web.packed import RUN_COLUMNS, packed_table
from catalog.errors import BadFile, MoeserveError
from catalog.inside import open_inside
from catalog.plain_text import message
from catalog.secrets import redact
from orchestrator.results.contents import names_in
from orchestrator.results.manifests import Manifest, read_manifest
from orchestrator.results.planned import Planned, read_planned
from orchestrator.results.record import RunRecord
from orchestrator.table import rows_of

TAIL_BYTES = 4000
MOST_FAILURES = 50
RECENT = 20
"""Finished runs that the pace is taken from."""
ORDER = ("provenance", "model", "technique", "workload", "strategy", "request_rate",
         "max_concurrency", "replicate")  # fmt: skip


@dataclass(slots=True)
class _Answered:
    """How many requests of a run in progress have ended: lines of its log, read on from here."""

    offset: int = 0
    lines: int = 0


@dataclass(slots=True)
class Onlooker:
    """One results directory, and what is known of it so far."""

    root: Path
    _published: dict[str, tuple[Manifest, float]] = field(default_factory=dict)
    _failed: dict[str, Manifest] = field(default_factory=dict)
    _damaged: dict[str, str] = field(default_factory=dict)
    _answered: dict[str, _Answered] = field(default_factory=dict)
    _began: int | None = None
    """Inode of `runs/`: another one is another study in the same place."""

    def look(self) -> dict[str, object]:
        """Return what there is now, as the page takes it; an absent directory has nothing yet."""
        self._forget_another()
        planned = self._planned()
        self._read("runs")
        self._read("failed")
        records = [manifest.record for manifest, _ in self._published.values()]
        finished = {record.run_id for record in records}
        failures = [m for m in self._failed.values() if m.record.run_id not in finished]
        shown = [*records, *self._last_attempts(failures)]
        rows = sorted(rows_of(shown), key=lambda row: [rank(_level(row.get(n))) for n in ORDER])
        left = None if planned is None else len(planned.runs.keys() - finished)
        return {
            "name": self.root.resolve().name,
            "there": (self.root / "runs").is_dir(),
            "planned": planned and len(planned.runs),
            "left": left,
            "verdicts": dict(Counter(record.verdict for record in shown)),
            **self._pace(left),
            "now": list(self._now(planned, finished)),
            "server": self._server() if left != 0 else None,
            "failures": list(self._failures(finished)),
            "runs": packed_table(rows, RUN_COLUMNS),
        }

    def _forget_another(self) -> None:
        try:
            found = (self.root / "runs").stat().st_ino
        except OSError:
            found = None
        if found != self._began:
            for known in (self._published, self._failed, self._damaged, self._answered):
                known.clear()
        self._began = found

    def _planned(self) -> Planned | None:
        self._damaged.pop("planned.json", None)
        try:
            return read_planned(self.root)
        except MoeserveError as error:
            self._damaged["planned.json"] = str(error)
            return None

    def _read(self, folder: str) -> None:
        """Read what is new in a folder of manifests; what was taken out again is forgotten."""
        known = self._published if folder == "runs" else self._failed
        there = dict.fromkeys(names_in(self.root, folder))
        for gone in known.keys() - there.keys():
            known.pop(gone)
        for mended in [n for n in self._damaged if n.startswith(f"{folder}/")]:
            self._damaged.pop(mended)
        for name in there.keys() - known.keys():
            try:
                manifest = read_manifest(self.root, self.root / folder / name)
                when = self._published_at(folder, name, manifest)
            except FileNotFoundError:
                continue  # taken out since
            except MoeserveError as error:
                self._damaged[f"{folder}/{name}"] = str(error)
                continue
            if folder == "runs":
                self._published[name] = (manifest, when)
            else:
                self._failed[name] = manifest

    def _published_at(self, folder: str, name: str, manifest: Manifest) -> float:
        """When a file appeared; of one in a bundle, when its run was started."""
        try:
            return (self.root / folder / name).stat().st_mtime
        except FileNotFoundError:
            return datetime.fromisoformat(manifest.record.started_at).timestamp()

    @staticmethod
    def _last_attempts(failures: list[Manifest]) -> list[RunRecord]:
        by_attempt = sorted(failures, key=lambda manifest: manifest.record.attempt)
        return list({m.record.run_id: m.record for m in by_attempt}.values())

    def _pace(self, left: int | None) -> dict[str, float | None]:
        """Seconds since the last run was finished, and how long the rest takes at this pace."""
        times = sorted(when for _, when in self._published.values())[-RECENT:]
        since = max(0.0, time.time() - times[-1]) if times else None
        pace = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None
        known = left is not None and pace is not None
        return {"since_s": since, "left_s": left * pace if known and left and pace else None}

    def _now(self, planned: Planned | None, finished: set[str]) -> Iterator[dict[str, object]]:
        """Runs whose requests are being answered: only they have a log of rows."""
        for entry in _entries(self.root / "attempts"):
            run_id = entry.name.rpartition(".a")[0]
            if run_id in finished or f"{entry.name}.json" in self._failed:
                continue
            ended = self._lines(f"attempts/{entry.name}/requests.jsonl")
            if ended is None:
                continue
            run = planned.runs.get(run_id) if planned else None
            name, of = (run.name, run.num_prompts) if run else (run_id, None)
            yield {"name": name, "ended": ended, "of": of}

    def _lines(self, name: str) -> int | None:
        known = self._answered.setdefault(name, _Answered())
        try:
            with open_inside(self.root, name) as log:
                log.seek(known.offset)
                while part := log.read(2**20):
                    known.lines += part.count(b"\n")
                    known.offset += len(part)
        except (OSError, BadFile):
            self._answered.pop(name)
            return None
        return known.lines

    def _server(self) -> dict[str, object] | None:
        """The server that was started last, and the end of its log if it has one."""
        started = list(_entries(self.root / "servers"))
        if not started:
            return None
        last = max(started, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
        return {"name": last.name, "log": self._tail(f"servers/{last.name}/server.log")}

    def _tail(self, name: str) -> str:
        try:
            with open_inside(self.root, name) as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - TAIL_BYTES))
                return _shown(log.read().decode(errors="replace"))
        except (OSError, BadFile):
            return ""

    def _failures(self, finished: set[str]) -> Iterator[dict[str, object]]:
        """The last failures first; what was damaged before them."""
        for name, problem in self._damaged.items():
            yield {"run": name, "error": _shown(problem), "log": "", "mended": False}
        latest = sorted(self._failed.values(), key=lambda m: m.record.started_at, reverse=True)
        for manifest in islice(latest, MOST_FAILURES):
            record = manifest.record
            load = f"c={record.max_concurrency}" if record.max_concurrency else ""
            names = (record.model, record.strategy, record.workload, load)
            yield {
                "run": _shown(" ".join(filter(None, names))),
                "at": record.started_at,
                "verdict": record.verdict,
                "error": _shown(record.error),
                "log": _shown(str(manifest.details.get("log_tail") or "")),
                "mended": record.run_id in finished,
            }


def _entries(folder: Path, ending: str = "") -> Iterator["os.DirEntry[str]"]:
    """What lies in a folder by its name; nothing where there is none."""
    try:
        with os.scandir(folder) as found:
            yield from (e for e in found if e.name.endswith(ending) and not e.name.startswith("."))
    except OSError:
        return


def _shown(text: str) -> str:
    return message(redact(text.strip()))


def _level(value: object) -> object:
    return "" if value is None or value != value else value
