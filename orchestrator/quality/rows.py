"""Quality as rows: a table of its own, and columns beside the runs of the same configuration."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from catalog.errors import BadValue
from orchestrator.experiment.cells import StoredSetup
from orchestrator.host.files import write_durably
from orchestrator.plan import Plan
from orchestrator.quality.record import QualityRecord, QualitySpec, reference_setup
from orchestrator.quality.store import (
    FOLDER,
    QualityComparison,
    compare_with_reference,
    read_comparisons,
    read_records,
)
from orchestrator.results.condition import (
    SETUP,
    condition_of,
    digest,
    setup_columns,
    version_of,
    with_configuration,
)
from orchestrator.results.record import ColumnValue

ConfigurationKey = str
"""Digest of the columns that say what a server is."""


def compare_all(root: Path, plan: Plan, spec: QualitySpec, reference: str | None) -> list[str]:
    """Compare what has been measured with each model's reference.

    Returns what could not be compared, and where more than the configuration differs.
    """
    records = {record.configuration_id: record for record in read_records(root)}
    kept = [each for each in read_comparisons(root) if each.configuration_id in records]
    found, problems = {each.configuration_id: each for each in kept}, []
    for setup in plan.setups:
        against = reference_setup(plan, reference, setup.model)
        record = records.get(spec.configuration_id(setup))
        base = records.get(spec.configuration_id(against))
        if record is None or base is None:
            continue
        name = f"{against.strategy}/{against.technique.name}"
        try:
            found[record.configuration_id] = compare_with_reference(root, record, base, name=name)
        except BadValue:
            problems.append(f"{setup.what}: another tokenizer than {name}, so not compared")
            continue
        if (here := _measured_with(record)) != (there := _measured_with(base)):
            problems.append(
                f"{setup.what}: measured on {here}, {name} on {there}: the ratio holds that, too; "
                f"in a directory of its own (-o) all is measured alike"
            )
    data = msgspec.json.encode(list(found.values()))
    write_durably(root / FOLDER / "compared.json", msgspec.json.format(data))
    return problems


def _measured_with(record: QualityRecord) -> str:
    return ", ".join(filter(None, (record.gpu_type, version_of(record.details))))


def quality_rows(root: Path, plan: Plan, spec: QualitySpec) -> list[dict[str, ColumnValue]]:
    """One row a configuration of the plan that has been measured by this spec."""
    records = {record.configuration_id: record for record in read_records(root)}
    against = {each.configuration_id: each for each in read_comparisons(root)}
    ids = (spec.configuration_id(setup) for setup in plan.setups)
    return with_configuration(
        [
            {**_identity(records[name]), **_figures(records[name], against.get(name))}
            for name in ids
            if name in records
        ]
    )


def quality_columns(root: Path) -> Mapping[ConfigurationKey, dict[str, ColumnValue]]:
    """Return each configuration's latest quality, for the rows of its runs."""
    if not (root / FOLDER).is_dir():
        return {}
    against = {each.configuration_id: each for each in read_comparisons(root)}
    return {
        _configuration_key(record.setup, record.gpu_type): _figures(
            record, against.get(record.configuration_id)
        )
        for record in read_records(root)
    }


def with_quality(
    row: dict[str, ColumnValue], columns: Mapping[ConfigurationKey, dict[str, ColumnValue]]
) -> dict[str, ColumnValue]:
    """Return a run's row with its configuration's quality, where that was measured."""
    return {**row, **columns[key]} if (key := digest(condition_of(row, SETUP))) in columns else row


def _configuration_key(setup: StoredSetup, gpu_type: str) -> ConfigurationKey:
    return digest(condition_of(setup_columns(setup, gpu_type=gpu_type), SETUP))


def _identity(record: QualityRecord) -> dict[str, ColumnValue]:
    return {
        **setup_columns(record.setup, gpu_type=record.gpu_type),
        "provenance": record.provenance,
        "engine_version": version_of(record.details),
        "text": record.text,
    }


def _figures(record: QualityRecord, against: QualityComparison | None) -> dict[str, ColumnValue]:
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
