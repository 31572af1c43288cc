"""What makes two rows different conditions: decided here, for every row that is stored or read.

A condition is everything that is not a measurement, a replicate number or a time: the model, its
layout, GPUs and their kind, technique, engine and version, server arguments and environment, the
client, the workload with its lengths, the load, and every label a file carried.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from catalog.secrets import redact
from orchestrator.experiment.cells import Cell, Setup, StoredSetup
from orchestrator.results.quantities import CONDITION, UNITS, role_of
from orchestrator.results.record import ColumnValue, Row

NAME, TEXT = "configuration", "configuration_text"
SETUP = (
    "engine", "model", "strategy", "gpu_type", "technique", "server_args", "server_env", "endpoint",
    "request_form",
)  # fmt: skip
"""The columns of `setup_columns` that say what a server is; the rest follow from the strategy."""
DIGITS = 10
LABELS = "label_columns"
"""Column with the names of those that an importer or a user gave as labels."""
NOT_ASKED = "num_prompts_source"
"""Says where a count of prompts comes from that nobody asked for: it makes no condition."""
# A file's name tells runs apart by time and number, which make no condition; the rest is a label.
_TIMES = re.compile(
    r"\d{4}-?\d{2}-?\d{2}([T_ -]?\d{2}[:h-]?\d{2}([:m-]?\d{2})?(\.\d+)?)?Z?|(?<!\d)\d{9,}(?!\d)"
)
_NUMBERS = re.compile(
    r"(?i)(?<![a-z0-9])(run|rep|repeat|replicate|trial|iter|iteration|attempt|seed|stage|part)"
    r"[-_ #=]?\d+(?![a-z0-9])|\(\d+\)"
)
_PLAIN = frozenset({None, "", "none", "nan"})
_NUMBER_OR_NONE = frozenset({int, float, type(None)})
Constants = Mapping[str, ColumnValue]


def setup_columns(setup: Setup | StoredSetup, *, gpu_type: str = "") -> dict[str, ColumnValue]:
    """The columns that say what a server is; secrets are masked."""
    layout = setup.layout
    technique = setup.technique if isinstance(setup.technique, str) else setup.technique.name
    return {
        "engine": setup.engine,
        "model": setup.model,
        "strategy": setup.strategy,
        "tp": layout.tp if layout else None,
        "dp": layout.dp if layout else None,
        "pp": layout.pp if layout else None,
        "ep": layout.ep if layout else None,
        "num_gpus": layout.num_gpus if layout else None,
        "gpu_type": gpu_type or setup.hardware,
        "technique": technique,
        "request_form": redact(setup.request_form),
        **server_columns(setup.server_args, setup.server_env, setup.endpoint),
    }


def server_columns(
    args: Iterable[str], env: Iterable[tuple[str, str]], endpoint: str | None
) -> dict[str, str]:
    """How a server was started, as text without secrets."""
    variables = " ".join(f"{name}={value}" for name, value in env)
    texts = {
        "server_args": shlex.join(args),
        "server_env": variables,
        "endpoint": endpoint or "",
    }
    return {name: redact(text) for name, text in texts.items()}


def cell_columns(cell: Cell, *, gpu_type: str = "") -> dict[str, ColumnValue]:
    """The columns of a measured condition: its server, its workload and its load."""
    return {
        **setup_columns(cell.setup, gpu_type=gpu_type),
        "workload": cell.workload.name,
        "input_len": cell.workload.known_input_len,
        "output_len": None if cell.workload.natural else cell.workload.output_len,
        "output_ends": "natural" if cell.workload.natural else "",
        "num_prompts": cell.num_prompts,
        "max_concurrency": cell.load.max_concurrency,
        "request_rate": cell.load.request_rate,
        "burstiness": cell.load.burstiness,
        "rate_curve": cell.load.rate_curve,
    }


def version_of(server: Mapping[str, Any]) -> str:
    """Version of an engine by what its server said; of a simulated one, its calibration."""
    return str(server.get("version") or server.get("calibration") or "")


def labels_told(cells: Iterable[ColumnValue]) -> frozenset[str]:
    """Names of the columns that rows say are labels, from their cells of `label_columns`."""
    texts = {cell for cell in cells if isinstance(cell, str)}
    return frozenset(name for text in texts for name in text.split(",") if name)


def belongs(name: str, values: Iterable[ColumnValue]) -> bool:
    """Whether a column is part of the condition; one nobody knows is judged by what it holds.

    Text, flags and whole numbers set something. Fractions, and what is named with a unit, do so
    where they come back in other rows: what is nearly always different was measured.
    """
    role = role_of(name)
    if role in ("condition", "record"):
        return role == "condition"
    listed = list(values)
    if role == "measure" and set(map(type, listed)) <= _NUMBER_OR_NONE:
        return False  # as nearly all are, without a look at each value
    known = [value for value in listed if not _missing(value)]
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(known) or role == "measure":
        return len(numbers) < len(known)  # text under a measurement's name is a label
    if not UNITS.fullmatch(name) and all(float(v).is_integer() for v in numbers):
        return bool(known)
    return len(set(numbers)) * 2 <= len(numbers) and bool(known)


def condition_names(
    columns: Mapping[str, Iterable[ColumnValue]], *, labels: Collection[str] = ()
) -> list[str]:
    """Which of these columns, each with its values, are part of their rows' condition.

    What was given as a label is, whatever its values look like, unless it numbers or dates runs.
    """
    names = [
        name
        for name, values in columns.items()
        if (name in labels and role_of(name) != "record") or belongs(name, values)
    ]
    twice = {"hardware"} if "gpu_type" in names else set()
    return [name for name in names if name not in twice]


def with_configuration(rows: Sequence[Row]) -> list[dict[str, ColumnValue]]:
    """Add `configuration` and `configuration_text`; rows that share them are replicates."""
    return [{**row, **own} for row, own in zip(rows, configurations(rows), strict=True)]


def configurations(rows: Sequence[Row]) -> list[dict[str, ColumnValue]]:
    """Return what `with_configuration` adds to each row."""
    every = dict.fromkeys(chain.from_iterable(rows))
    told = labels_told(row.get(LABELS) for row in rows)
    # Row by row: of ten thousand, a look at each for every column would leave the cache each time.
    columns = zip(*([*map(row.get, every)] for row in rows), strict=True)
    values = dict(zip(every, columns, strict=True))
    names = condition_names(values, labels=told)
    # Replicates say the same: each condition is put into words once.
    known: dict[tuple[object, ...], dict[str, ColumnValue]] = {}
    found = []
    said_of = zip(*map(values.__getitem__, names), strict=True) if names else repeat(())
    for row, said in zip(rows, said_of, strict=bool(names)):
        key = (said, tuple(map(type, said)), bool(row.get(NOT_ASKED)))
        if key not in known:
            condition = condition_of(row, names)
            known[key] = {NAME: digest(condition), TEXT: text_of(condition)}
        found.append(known[key])
    return found


def condition_of(row: Row, names: Iterable[str]) -> dict[str, ColumnValue]:
    """The known values of a row's condition; what a row does not say is no part of it."""
    found = {name: canonical(name, row.get(name)) for name in names}
    if row.get(NOT_ASKED):
        found.pop("num_prompts", None)
    return {name: value for name, value in found.items() if not _missing(value)}


def canonical(name: str, value: Any) -> ColumnValue:
    """One spelling of a value: 4.0 is 4, «none» is nothing, a file's name is without its time."""
    if _missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return label_of_file(value) if name == "source" else value.strip()
    item = getattr(value, "item", None)
    return canonical(name, item()) if item else value


def label_of_file(name: str) -> str:
    """A file's name without what numbers or dates a repeat."""
    stem = re.sub(r"\.(jsonl?|csv|txt)$", "", name)
    return re.sub(r"[-_ .]{2,}", "-", _NUMBERS.sub("", _TIMES.sub("", stem))).strip("-_ .")


def digest(condition: Constants) -> str:
    """First hex digits of the SHA-256 of a condition's canonical JSON."""
    text = json.dumps(dict(sorted(condition.items())), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def text_of(condition: Constants) -> str:
    """A condition in words, what is known of it in the order of the columns."""
    places = {name: place for place, name in enumerate(CONDITION)}
    ordered = sorted(condition, key=lambda name: places.get(name, len(places)))
    derived = {"architecture"} | ({"tp", "dp", "pp", "ep"} if "strategy" in condition else set())
    words = [word_of(name, condition[name]) for name in ordered if name not in derived]
    return ", ".join(dict.fromkeys(words))


def word_of(name: str, value: ColumnValue) -> str:
    """A value of a column as it stands in a sentence: `4 GPUs`, `H100`, `framework sgl`."""
    return CONDITION.get(name, f"{name} {{}}").format(value)


def _missing(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _PLAIN
    return value is None or value != value
