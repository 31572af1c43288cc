"""Secrets out of what is stored: the last door before the disk, whoever brought the text."""

from collections.abc import Callable
from typing import Any

import msgspec

from catalog.secrets import masker
from orchestrator.results.record import RunRecord

TEXTS = (
    "model",
    "gpu_type",
    "engine_version",
    "server_args",
    "server_env",
    "endpoint",
    "request_form",
    "served_model",
    "answered_by",
    "error",
)
"""Columns that hold what a server or a user said; the others hold moeserve's own words."""


def masked_record(record: RunRecord) -> RunRecord:
    """Return the record with every secret masked that came into its texts."""
    mask = masker()
    texts = {name: mask(getattr(record, name)) for name in TEXTS}
    return msgspec.structs.replace(record, **texts, extra=_masked(record.extra, mask))


def masked(value: Any) -> Any:
    """Return a value with the secrets in its texts masked, however deep they are."""
    return _masked(value, masker())


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {_masked(key, mask): _masked(each, mask) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, mask) for each in value]
    return value
