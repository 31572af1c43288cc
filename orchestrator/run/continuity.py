"""Is a server that already runs still the one that a directory's runs were measured on?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.errors import ChangedExperiment, ServerError
from orchestrator.results.manifests import read_manifests
from orchestrator.results.store import WAY_OUT

COMPARED = {
    "asked": "the model asked for",
    "answered_by": "the model that answers",
    "version": "the server's version",
    "max_model_len": "its longest sequence",
}
"""Of an identity; what either side does not know is no difference."""


def refuse_other_server(root: Path, identity: Mapping[str, Any]) -> None:
    """Raise ChangedExperiment where the published runs are another server's."""
    if changes := differences(root, identity):
        raise ChangedExperiment(f"{root} holds runs of another server: {changes}. {WAY_OUT}")


def check_same_server(root: Path, details: Mapping[str, Any]) -> None:
    """Raise ServerError `SERVER_CHANGED` where the server is no longer that of earlier runs."""
    identity = details.get("identity")
    if identity is not None and (changes := differences(root, identity)):
        raise ServerError(f"SERVER_CHANGED: {changes}; its runs are not replicates of these")


def differences(root: Path, identity: Mapping[str, Any]) -> str:
    """Say in what the server of the last published run differs; "" without one, or in nothing."""
    published = [each for each in read_manifests(root) if each.files]
    if not published:
        return ""
    last = max(published, key=lambda each: each.record.started_at)
    before = last.details.get("server", {}).get("identity") or {}
    changed = [
        f"{what} was {before[name]!r}, now {identity[name]!r}"
        for name, what in COMPARED.items()
        if before.get(name) and identity.get(name) and before[name] != identity[name]
    ]
    return "; ".join(changed)
