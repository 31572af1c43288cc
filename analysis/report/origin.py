"""Where the results come from: the experiment, the machine, and how to make them again."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from catalog.errors import ResultsError
from catalog.inside import read_inside
from catalog.secrets import redact

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
    name = path.resolve().name
    environments = sorted((path / "environments").glob("*.json"))
    return Origin(
        name=name,
        experiment=_experiment(path),
        environments=[list(_flat("", _json(path, file))) for file in environments],
        command=f"moeserve run experiment.yaml -o {shlex.quote(name)}",
    )


def _experiment(root: Path) -> str:
    """Return the experiment as indented JSON; what is no object is no experiment."""
    path = root / "experiment.json"
    try:
        asked = _json(root, path)
    except FileNotFoundError:
        return ""
    if not isinstance(asked, dict):
        raise ResultsError(f"{path}: is damaged: no experiment")
    return redact(msgspec.json.format(msgspec.json.encode(asked)).decode())


def _json(root: Path, path: Path) -> object:
    data = read_inside(root, path.relative_to(root).as_posix())
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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
