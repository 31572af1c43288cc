"""A server's log explained: what it ran, how far it came, why it failed, what to do."""

from pathlib import Path

from catalog.errors import BadFile
from catalog.named_file import open_named
from catalog.secrets import redact
from orchestrator.engines.vllm.choices import choices_told
from orchestrator.engines.vllm.readback import observed
from orchestrator.measure.failures import diagnose
from orchestrator.measure.log_author import author, foreign_advice
from orchestrator.measure.log_file import read_log
from orchestrator.measure.server_log import stage, stage_number
from orchestrator.results.record import ColumnValue


def explained(path: Path) -> dict[str, ColumnValue]:
    """Explain the last start that a log tells of; None where it does not tell.

    `lasting`: whether the same start would fail again, None also where that depends.
    """
    log = _text(path)
    if foreign := foreign_advice(log):
        nothing = dict.fromkeys(("layout", "kv_tokens_capacity", "stage", "failure", "lasting"))
        return {**nothing, "advice": redact(foreign), "server": author(log)}
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
        "server": author(log),
        **{name: redact(str(value)) for name, value in choices_told(log).items()},
    }


def _text(path: Path) -> str:
    """What a log tells; BadFile where there is none."""
    try:
        with open_named(path, "log of one server") as file:
            return read_log(file)
    except OSError as error:
        raise BadFile(path, error.strerror or str(error)) from None
