"""The run table and the request table of a results directory."""

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from catalog.errors import InputError
from catalog.inside import read_inside
from orchestrator.experiment.experiment import Experiment
from orchestrator.quality.rows import quality_columns, with_quality
from orchestrator.results.condition import configurations, server_columns, version_of
from orchestrator.results.manifests import (
    Manifest,
    as_published,
    each_manifest,
    read_manifests,
)
from orchestrator.results.record import ColumnValue, RunRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.results.rows import RowsSource


def rows_of(records: Iterable[RunRecord]) -> list[dict[str, ColumnValue]]:
    """Flatten records into rows: their own columns, the further ones, and their configuration."""
    return _configured([_flat(record) for record in records])


def _configured(rows: list[dict[str, ColumnValue]]) -> list[dict[str, ColumnValue]]:
    """Add their configuration to rows of one's own: a copy of all would be held beside them."""
    for row, own in zip(rows, configurations(rows), strict=True):
        row.update(own)
    return rows


def _flat(record: RunRecord) -> dict[str, ColumnValue]:
    row = msgspec.to_builtins(record)
    extra: Mapping[str, ColumnValue] = row.pop("extra")
    return {**row, **extra}


def run_rows(root: Path) -> list[dict[str, ColumnValue]]:
    """One row a run, in the order they were started, with its configuration's quality if known."""
    asked = _asked(root)
    rows = [_flat(_completed(manifest, asked)) for manifest in each_manifest(root)]
    rows.sort(key=itemgetter("started_at", "run_id"))
    quality = quality_columns(root)
    rows = _configured(rows)
    return [with_quality(row, quality) for row in rows] if quality else rows


def _completed(manifest: Manifest, asked: Mapping[str, str]) -> RunRecord:
    """Fill in what results of earlier versions hold beside their rows."""
    record = manifest.record
    said = {"engine_version": version_of(manifest.details.get("server") or {}), **asked}
    missing = {name: text for name, text in said.items() if text and not getattr(record, name)}
    return msgspec.structs.replace(record, **missing) if missing else record


def _asked(root: Path) -> dict[str, str]:
    """The server's arguments, variables and address that the whole experiment shares."""
    try:
        data = read_inside(root, "experiment.json")
    except FileNotFoundError:
        return {}  # an import: its rows say what they know
    try:
        experiment = msgspec.json.decode(data, type=Experiment)
    except (msgspec.DecodeError, InputError, UnicodeDecodeError, RecursionError):
        return {}  # of a later version
    server = experiment.server
    return server_columns(server.args, tuple(sorted(server.env.items())), experiment.endpoint)


def request_files(
    root: Path, manifests: Iterable[Manifest] | None = None
) -> "Iterator[RowsSource]":
    """Yield the files with the request rows of published runs, as they were published."""
    listed = read_manifests(root) if manifests is None else manifests
    for manifest in listed:
        for file in manifest.files:
            if file.path.endswith("/requests.parquet"):
                yield as_published(root, file)


def request_table(root: Path) -> "pa.Table":
    """Return every request of every published run, token times as a list column."""
    from orchestrator.results.rows import read_parquet

    return read_parquet(request_files(root))
