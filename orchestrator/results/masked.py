"""Secrets out of what is stored: the last door before the disk, whoever brought the text."""

from typing import Any

import msgspec

from catalog.secrets import redact
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
    texts = {name: redact(getattr(record, name)) for name in TEXTS}
    return msgspec.structs.replace(record, **texts, extra=masked(record.extra))


def masked(value: Any) -> Any:
    """Return a value with the secrets in its texts masked, however deep they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {masked(key): masked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    return value
