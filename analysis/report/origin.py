"""Where the results come from: the experiment, the machine, and how to make them again."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from catalog.errors import ResultsError

LONGEST = 400


@dataclass(frozen=True, slots=True)
class Origin:
    """One results directory."""

    name: str
    experiment: str
    """The experiment as JSON, empty for imports."""
    environments: list[list[tuple[str, str]]]
    """Machine and software as flat name and value pairs."""
    command: str


def origins(results: Sequence[Path]) -> list[Origin]:
    """Describe every results directory among the inputs."""
    return [_origin(path) for path in results if path.is_dir()]


def _origin(path: Path) -> Origin:
    experiment = path / "experiment.json"
    name = path.resolve().name
    environments = sorted((path / "environments").glob("*.json"))
    return Origin(
        name=name,
        experiment=experiment.read_text(encoding="utf-8") if experiment.is_file() else "",
        environments=[list(_flat("", _json(file))) for file in environments],
        command=f"moeserve run experiment.yaml -o {shlex.quote(name)}",
    )


def _json(path: Path) -> object:
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ResultsError(f"{path}: is damaged: {error}") from error


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Nested facts as dotted names; long ones are cut."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, inner in enumerate(value):
            yield from _flat(f"{name}.{index}", inner)
    elif value not in (None, "", [], {}):
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield name, text if len(text) <= LONGEST else text[:LONGEST] + " …"
