"""What an experiment's file may hold: each field with its flag, its meaning and its default."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from catalog.field_notes import field_notes
from moeserve.cli.options import FLAGS
from orchestrator.experiment.document import shorthand
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.experiment.ray_options import RayOptions

PARTS: dict[str, type[msgspec.Struct]] = {
    "": Experiment,
    "server": ServerOptions,
    "endpoint_options": EndpointOptions,
    "ray": RayOptions,
}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Key:
    """One field of an experiment's file."""

    name: str
    """With its part before a dot: `server.args`."""
    flags: str
    """Of the command line, empty without one."""
    about: str
    default: str
    """As JSON."""
    panel: str
    """Heading of the flag in the help."""


def keys() -> Iterator[Key]:
    """Yield every field in the order of the file, those of its parts after it."""
    flags = {flag.field: (flag, panel) for panel, listed in FLAGS.items() for flag in listed}
    for part, struct in PARTS.items():
        notes = field_notes(struct)
        for field in msgspec.structs.fields(struct):
            if not part and field.name in PARTS:
                continue
            name = f"{part}.{field.name}" if part else field.name
            flag, panel = flags.get(name, (None, ""))
            told = notes.get(field.name) or (flag.help if flag else "")
            yield Key(
                name=name,
                flags=flag.names if flag else "",
                about=_sentence(told),
                default=_default(field),
                panel=panel,
            )


def experiment_schema() -> dict[str, Any]:
    """Return the JSON schema of the file, its short forms included (`concurrency: [1, 4]`)."""
    (made,), defined = msgspec.json.schema_components([Experiment])
    about = {key.name: key.about for key in keys()}
    for part, struct in PARTS.items():
        fields = defined[struct.__name__]["properties"]
        for name, field in fields.items():
            text = about.get(f"{part}.{name}" if part else name)
            if text:
                fields[name] = {"description": text, **field}
    own = defined["Experiment"]
    own["properties"] = shorthand(own["properties"])
    return {"$schema": DIALECT, "title": "moeserve experiment", **made, "$defs": defined}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        value = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        return ""
    return msgspec.json.encode(value).decode()


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?", "…")) else f"{text}."
