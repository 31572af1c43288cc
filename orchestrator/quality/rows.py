"""Quality as rows: a table of its own, and columns beside the runs of the same configuration."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from catalog.errors import BadValue
from orchestrator.cells import Setup
from orchestrator.files import write_durably
from orchestrator.plan import Plan
from orchestrator.quality.record import QualityRecord, Question, reference_setup
from orchestrator.quality.store import FOLDER, Compared, compared, read_compared, read_records

Value = float | int | str | bool | None
Key = tuple[str, str, str, str, str]
"""Engine, model, strategy, technique and GPU: what a run's row says of its configuration."""


def compare_all(root: Path, plan: Plan, question: Question, reference: str | None) -> list[str]:
    """Compare what has been measured with each model's reference; return what could not be."""
    records = {record.configuration_id: record for record in read_records(root)}
    kept = [each for each in read_compared(root) if each.configuration_id in records]
    found, problems = {each.configuration_id: each for each in kept}, []
    for setup in plan.setups:
        against = reference_setup(plan, reference, setup.model)
        record = records.get(question.configuration_id(setup))
        base = records.get(question.configuration_id(against))
        if record is None or base is None:
            continue
        name = f"{against.strategy}/{against.technique}"
        try:
            found[record.configuration_id] = compared(root, record, base, name=name)
        except BadValue:
            problems.append(f"{setup.what}: another tokenizer than {name}, so not compared")
    data = msgspec.json.encode(list(found.values()))
    write_durably(root / FOLDER / "compared.json", msgspec.json.format(data))
    return problems


def quality_rows(root: Path, plan: Plan, question: Question) -> list[dict[str, Value]]:
    """One row a configuration of the plan that has been asked this question."""
    records = {record.configuration_id: record for record in read_records(root)}
    against = {each.configuration_id: each for each in read_compared(root)}
    ids = (question.configuration_id(setup) for setup in plan.setups)
    return [
        {**_identity(records[name]), **_figures(records[name], against.get(name))}
        for name in ids
        if name in records
    ]


def quality_columns(root: Path) -> Mapping[Key, dict[str, Value]]:
    """Return each configuration's latest quality, for the rows of its runs."""
    if not (root / FOLDER).is_dir():
        return {}
    against = {each.configuration_id: each for each in read_compared(root)}
    return {
        _key(record.setup, record.gpu_type): _figures(record, against.get(record.configuration_id))
        for record in read_records(root)
    }


def with_quality(
    row: dict[str, Value], columns: Mapping[Key, dict[str, Value]]
) -> dict[str, Value]:
    """Return a run's row with its configuration's quality, where that was measured."""
    names = ("engine", "model", "strategy", "technique", "gpu_type")
    engine, model, strategy, technique, gpu_type = (str(row[name]) for name in names)
    return {**row, **columns.get((engine, model, strategy, technique, gpu_type), {})}


def _key(setup: Setup, gpu_type: str) -> Key:
    return setup.engine, setup.model, setup.strategy, setup.technique, gpu_type


def _identity(record: QualityRecord) -> dict[str, Value]:
    setup = record.setup
    return {
        "engine": setup.engine,
        "provenance": record.provenance,
        "model": setup.model,
        "strategy": setup.strategy,
        "technique": setup.technique,
        "gpu_type": record.gpu_type,
        "text": record.text,
    }


def _figures(record: QualityRecord, against: Compared | None) -> dict[str, Value]:
    return {
        "perplexity": record.perplexity,
        "perplexity_low": record.perplexity_low,
        "perplexity_high": record.perplexity_high,
        "quality_tokens": record.predicted_tokens,
        "quality_window": record.window,
        "reference": against.reference if against else None,
        "perplexity_ratio": against.perplexity_ratio if against else None,
        "perplexity_ratio_low": against.perplexity_ratio_low if against else None,
        "perplexity_ratio_high": against.perplexity_ratio_high if against else None,
        "token_agreement": against.token_agreement if against else None,
        "kl_divergence": against.kl_divergence if against else None,
        "kl_mass": against.kl_mass if against else None,
        "same_perplexity": against.same_perplexity if against else None,
    }
