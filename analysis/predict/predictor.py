"""A fitted predictor: its forests, how far off they are on models not seen, and what was measured.

Stored as one NumPy archive of plain arrays with a JSON description, read without pickle.
"""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from analysis.predict.cases import Cases
from analysis.predict.evaluate import held_out_scores
from analysis.predict.forest import Forest, fit_regressor
from analysis.predict.learned import ranges_of
from analysis.predict.methods import FOREST, SIMULATED, share_of, trust, weights
from analysis.predict.objective import ObjectiveName
from analysis.predict.scores import fit_temperature
from analysis.predict.splits import folds
from catalog.errors import BadFile
from catalog.named_file import open_named
from perfmodel.arrays import BoolArray, FloatArray
from perfmodel.constants import VLLM_2026
from perfmodel.known_error import KNOWN_ERRORS, NORMAL_90

SCHEMA = 3
# Errors of EP less TP for a model left out of the analytic model's own fit to the A100 study's
# Table IV are +3, +20 and −18 %: r.m.s. 0.16. A logistic with this scale has about that spread.
ANALYTIC_LOG_SD = 0.16
# Of one option's own value: nine of ten published measurements are within a factor of the estimate.
ANALYTIC_LEVEL_SD = (
    math.log(KNOWN_ERRORS[VLLM_2026.name].nine_of_ten["output_throughput"]) / NORMAL_90
)
SD_OVER_TEMPERATURE = 1.7
ANALYTIC_TEMPERATURE = ANALYTIC_LOG_SD / SD_OVER_TEMPERATURE
PRIOR_CASES = 10
"""Measured cases that the analytic model's own error between layouts counts as: an assumption."""


class Uncertainty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far predictions are off, on logarithms."""

    temperature: float
    """Of the softmax over options that gives probabilities."""
    absolute_sd: float = msgspec.field(name="level_sd")
    """Of one option's predicted value."""
    basis: str
    """What the two rest on."""

    @property
    def option_sd(self) -> float:
        """Of one option against its rivals: two such differ by a logistic of `temperature`."""
        return SD_OVER_TEMPERATURE * self.temperature / float(np.sqrt(2))


BETWEEN_LAYOUTS = "its errors on models left out of its fit to the A100 study, between layouts"
ANALYTIC_UNCERTAINTY = Uncertainty(
    temperature=ANALYTIC_TEMPERATURE,
    absolute_sd=ANALYTIC_LEVEL_SD,
    basis=f"{BETWEEN_LAYOUTS}, and on published measurements, of values",
)


class MeasuredOption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One option that was measured, for answers that need no prediction."""

    model: str
    gpu_type: str
    strategy: str
    input_len: int
    output_len: int
    num_prompts: int
    max_concurrency: int
    value: float
    runs: int
    """Replicates that the value is the mean of."""


class PredictorMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a predictor but its trees."""

    schema: int
    objective: ObjectiveName
    calibration: str | None
    """Constants of the analytic features; None takes the default."""
    names: tuple[str, ...]
    importances: tuple[float, ...]
    uncertainty: Uncertainty = msgspec.field(name="doubt")
    trust: float
    """Share of the correction that counts for a model that was not measured."""
    level_trust: float
    """The same of the correction of all options of a case together."""
    options: dict[str, int]
    """Options fitted to, by provenance."""
    models: tuple[str, ...]
    hardware: tuple[str, ...]
    measured: tuple[MeasuredOption, ...]
    run_sd: float
    """Standard deviation of one run's logarithm about its option's."""
    ranges: dict[str, tuple[float, float]]
    """Least and most of what was learned from, by feature."""


class _Versioned(msgspec.Struct):
    schema: int


class Predictor(msgspec.Struct, frozen=True, kw_only=True):
    """Two forests with their description."""

    about: PredictorMetadata
    relative: Forest
    """Corrects the analytic model for each option against its rivals."""
    absolute: Forest
    """Corrects it for all options of a case together."""

    def log_values(self, matrix: FloatArray, analytic: FloatArray, *, model: str) -> FloatArray:
        """Natural logarithm of the objective of each option of one case."""
        known = any(row.model == model for row in self.about.measured)
        share, level = (1.0, 1.0) if known else (self.about.trust, self.about.level_trust)
        absolute = level * float(self.absolute.predict(matrix)[:, 0].mean())
        found: FloatArray = analytic + share * self.relative.predict(matrix)[:, 0] + absolute
        return found


def fit(
    cases: Cases,
    *,
    objective: ObjectiveName,
    calibration: str | None = None,
    seed: int = 0,
) -> Predictor:
    """Fit to all cases; the uncertainty is of models held out, measured ones where there are."""
    weight = weights(cases)
    relative, importances = fit_regressor(
        cases.matrix, cases.relative_residual, weight=weight, seed=seed
    )
    absolute, _ = fit_regressor(cases.matrix, cases.absolute_residual, weight=weight, seed=seed)
    kinds, counts = np.unique(cases.provenance, return_counts=True)
    levels = held_out_levels(cases, seed=seed)
    # Of simulated rows alone the level is learned as they have it; one measured model shows none.
    level_trust = levels.trust if levels else float(set(kinds) == {SIMULATED})
    about = PredictorMetadata(
        schema=SCHEMA,
        objective=objective,
        calibration=calibration,
        names=cases.names,
        importances=tuple(importances.tolist()),
        uncertainty=uncertainty_of(cases, levels, seed=seed),
        trust=trust(cases, seed=seed),
        level_trust=level_trust,
        options={str(kind): int(n) for kind, n in zip(kinds, counts, strict=True)},
        models=tuple(str(name) for name in np.unique(cases.model)),
        hardware=tuple(str(name) for name in np.unique(cases.hardware)),
        measured=measured_options(cases),
        run_sd=cases.run_sd,
        ranges=ranges_of(cases),
    )
    return Predictor(about=about, relative=relative, absolute=absolute)


def measured_options(cases: Cases) -> tuple[MeasuredOption, ...]:
    """The options that were measured, or imported from another tool's measurement."""
    return tuple(
        MeasuredOption(
            model=str(cases.model[i]),
            gpu_type=str(cases.hardware[i]),
            strategy=str(cases.strategy[i]),
            input_len=int(cases.demand[i, 0]),
            output_len=int(cases.demand[i, 1]),
            num_prompts=int(cases.demand[i, 2]),
            max_concurrency=int(cases.demand[i, 3]),
            value=float(cases.value[i]),
            runs=int(cases.runs[i]),
        )
        for i in np.flatnonzero(cases.provenance != SIMULATED)
    )


def uncertainty_of(cases: Cases, levels: "HeldOutLevels | None", *, seed: int) -> Uncertainty:
    """Errors on held-out models: of measured options, or the analytic model's where none are.

    What a forest misses on simulated rows says nothing about real servers.
    """
    if levels is None:
        return ANALYTIC_UNCERTAINTY
    real = cases.provenance != SIMULATED
    score, _ = held_out_scores(cases, levels.fold_masks, FOREST, seed=seed)
    errors = (score + levels.trust * levels.guess - np.log(cases.value))[real]
    told = cases.only(real)
    return Uncertainty(
        temperature=blended_temperature(fit_temperature(told, score[real]), told.count),
        absolute_sd=float(np.sqrt(np.mean(errors**2))),
        basis=f"errors on {int(real.sum())} measured options of models held out in turn",
    )


def blended_temperature(fitted: float, cases: int) -> float:
    """The temperature that so many measured cases and the analytic model's errors make together.

    A dozen cases whose winners were all foreseen do not show that the next one will be.
    """
    squares = PRIOR_CASES * ANALYTIC_TEMPERATURE**2 + cases * fitted**2
    return math.sqrt(squares / (PRIOR_CASES + cases))


@dataclass(frozen=True, slots=True)
class HeldOutLevels:
    """Corrections of whole cases, each learned without its model."""

    fold_masks: list[BoolArray]
    guess: FloatArray
    trust: float
    """Least-squares factor of the guesses on measured options, 0 to 1."""


def held_out_levels(cases: Cases, *, seed: int) -> HeldOutLevels | None:
    """None where fewer than two models were measured."""
    real = cases.provenance != SIMULATED
    masks = list(folds(cases, "leave-one-model-out", seed=seed))
    if len(np.unique(cases.model[real])) < 2 or not masks:
        return None
    guess = np.empty(len(cases.value))
    for mask in masks:
        train = cases.only(~mask)
        fitted, _ = fit_regressor(
            train.matrix, train.absolute_residual, weight=weights(train), seed=seed
        )
        guess[mask] = fitted.predict(cases.matrix[mask])[:, 0]
    return HeldOutLevels(masks, guess, share_of(guess[real], cases.absolute_residual[real]))


def save(predictor: Predictor, path: Path) -> None:
    """Write one file, whole or not at all."""
    about = np.frombuffer(msgspec.json.encode(predictor.about), dtype=np.uint8)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            about=about,
            **_named("lean", predictor.relative),
            **_named("level", predictor.absolute),
        )
    part.replace(path)


def _named(prefix: str, forest: Forest) -> dict[str, np.ndarray]:
    return {f"{prefix}_{name}": array for name, array in forest.arrays().items()}


def load_predictor(path: Path) -> Predictor:
    """Read a predictor that `save` wrote."""
    try:
        with (
            open_named(path, "predictor; make one with `moeserve predict fit`") as file,
            np.load(file, allow_pickle=False) as stored,
        ):
            arrays = {name: stored[name] for name in stored.files}
        told = arrays.pop("about").tobytes()
        if (schema := msgspec.json.decode(told, type=_Versioned).schema) != SCHEMA:
            raise BadFile(path, f"schema {schema}; this version reads {SCHEMA}: fit it anew")
        about = msgspec.json.decode(told, type=PredictorMetadata)
        relative, absolute = (
            Forest.from_arrays(
                {
                    name.removeprefix(prefix): array
                    for name, array in arrays.items()
                    if name.startswith(prefix)
                }
            )
            for prefix in ("lean_", "level_")
        )
    except BadFile:
        raise
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
        raise BadFile(path, f"not a predictor of moeserve ({str(error)[:120]})") from None
    return Predictor(about=about, relative=relative, absolute=absolute)
