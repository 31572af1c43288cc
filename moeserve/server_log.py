"""A server's log explained: what it ran, how far it came, why it failed, what to do."""

import os
from pathlib import Path

from catalog.errors import BadFile
from catalog.named_file import open_named
from catalog.secrets import redact
from orchestrator.engines.vllm.choices import choices_told
from orchestrator.engines.vllm.readback import observed
from orchestrator.measure.failures import diagnose
from orchestrator.measure.server_log import stage, stage_number
from orchestrator.results.record import ColumnValue

HEAD_BYTES, TAIL_BYTES = 16 * 2**20, 32 * 2**20
"""Of a longer log: how the server started and how it ended."""


def explained(path: Path) -> dict[str, ColumnValue]:
    """Explain the last start that a log tells of; None where it does not tell.

    `lasting`: whether the same start would fail again, None also where that depends.
    """
    log = _text(path)
    seen, failure = observed(log), diagnose(log)
    began = bool(stage_number(log) or seen.version or failure)
    return {
        "layout": seen.layout.name if seen.layout else None,
        "kv_tokens_capacity": seen.kv_tokens_capacity,
        "stage": stage(log) if began else None,
        "failure": failure.code if failure else None,
        "lasting": failure.lasting if failure else None,
        "advice": redact(failure.advice) if failure else None,
        "version": seen.version or None,
        "decode_context_parallel_size": seen.decode_context if seen.decode_context > 1 else None,
        **{name: redact(str(value)) for name, value in choices_told(log).items()},
    }


def _text(path: Path) -> str:
    """The begin and the end of a log; BadFile where there is none."""
    try:
        with open_named(path, "log of one server") as file:
            head = file.read(HEAD_BYTES)
            rest = max(0, os.fstat(file.fileno()).st_size - len(head))
            file.seek(max(0, rest - TAIL_BYTES), os.SEEK_CUR)
            tail = file.read(TAIL_BYTES)
    except OSError as error:
        raise BadFile(path, error.strerror or str(error)) from None
    between = "\n" if rest > TAIL_BYTES else ""
    return head.decode(errors="replace") + between + tail.decode(errors="replace")
