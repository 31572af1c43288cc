"""A fitted predictor: its forests, how far off they are on models not seen, and what was measured.

Stored as one NumPy archive of plain arrays with a JSON description, read without pickle.
"""

import zipfile
from pathlib import Path

import msgspec
import numpy as np

from analysis.predict.cases import Cases
from analysis.predict.evaluate import held_out_scores
from analysis.predict.forest import Forest, fit_regressor
from analysis.predict.methods import FOREST, SIMULATED, trust, weights
from analysis.predict.objective import Objective
from analysis.predict.scores import fit_temperature
from analysis.predict.splits import folds
from catalog.errors import BadFile
from perfmodel.arrays import FloatArray

SCHEMA = 1
# Errors of EP less TP for a model left out of the analytic model's own fit to the A100 study's
# Table IV are +3, +20 and −18 %: r.m.s. 0.16. A logistic with this scale has about that spread.
UNPROVED_LOG_SD = 0.16
SD_OVER_TEMPERATURE = 1.7
UNPROVED_TEMPERATURE = UNPROVED_LOG_SD / SD_OVER_TEMPERATURE


class Doubt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far predictions are off, on logarithms."""

    temperature: float
    """Of the softmax over options that gives probabilities."""
    level_sd: float
    """Of one option's predicted value."""
    basis: str
    """What the two rest on."""

    @property
    def option_sd(self) -> float:
        """Of one option against its rivals: two such differ by a logistic of `temperature`."""
        return SD_OVER_TEMPERATURE * self.temperature / float(np.sqrt(2))


UNPROVED = Doubt(
    temperature=UNPROVED_TEMPERATURE,
    level_sd=UNPROVED_LOG_SD,
    basis="the analytic model's errors on models left out of its fit to the A100 study",
)


class Known(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One option that was measured, for answers that need no prediction."""

    model: str
    gpu_type: str
    strategy: str
    input_len: int
    output_len: int
    num_prompts: int
    max_concurrency: int
    value: float


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything of a predictor but its trees."""

    schema: int
    objective: Objective
    calibration: str | None
    """Constants of the analytic features; None takes those of each GPU."""
    names: tuple[str, ...]
    importances: tuple[float, ...]
    doubt: Doubt
    trust: float
    """Share of the correction that counts for a model that was not measured."""
    options: dict[str, int]
    """Options fitted to, by provenance."""
    models: tuple[str, ...]
    hardware: tuple[str, ...]
    measured: tuple[Known, ...]


class Predictor(msgspec.Struct, frozen=True, kw_only=True):
    """Two forests with their description."""

    about: About
    lean: Forest
    """Corrects the analytic model for each option against its rivals."""
    level: Forest
    """Corrects it for all options of a case together."""

    def log_values(self, matrix: FloatArray, analytic: FloatArray, *, model: str) -> FloatArray:
        """Natural logarithm of the objective of each option of one case."""
        known = any(row.model == model for row in self.about.measured)
        share = 1.0 if known else self.about.trust
        level = float(self.level.predict(matrix)[:, 0].mean())
        found: FloatArray = analytic + share * self.lean.predict(matrix)[:, 0] + level
        return found


def fit(
    cases: Cases,
    *,
    objective: Objective,
    calibration: str | None = None,
    seed: int = 0,
) -> Predictor:
    """Fit to all cases; the doubt comes from models held out, measured ones where there are."""
    weight = weights(cases)
    lean, importances = fit_regressor(cases.matrix, cases.lean, weight=weight, seed=seed)
    level, _ = fit_regressor(cases.matrix, cases.level, weight=weight, seed=seed)
    kinds, counts = np.unique(cases.provenance, return_counts=True)
    about = About(
        schema=SCHEMA,
        objective=objective,
        calibration=calibration,
        names=cases.names,
        importances=tuple(importances.tolist()),
        doubt=doubt_of(cases, seed=seed),
        trust=trust(cases, seed=seed),
        options={str(kind): int(n) for kind, n in zip(kinds, counts, strict=True)},
        models=tuple(str(name) for name in np.unique(cases.model)),
        hardware=tuple(str(name) for name in np.unique(cases.hardware)),
        measured=known_of(cases),
    )
    return Predictor(about=about, lean=lean, level=level)


def known_of(cases: Cases) -> tuple[Known, ...]:
    """The options that were measured, or imported from another tool's measurement."""
    return tuple(
        Known(
            model=str(cases.model[i]),
            gpu_type=str(cases.hardware[i]),
            strategy=str(cases.strategy[i]),
            input_len=int(cases.demand[i, 0]),
            output_len=int(cases.demand[i, 1]),
            num_prompts=int(cases.demand[i, 2]),
            max_concurrency=int(cases.demand[i, 3]),
            value=float(cases.value[i]),
        )
        for i in np.flatnonzero(cases.provenance != SIMULATED)
    )


def doubt_of(cases: Cases, *, seed: int) -> Doubt:
    """Errors on held-out models: of measured options, or the analytic model's where none are.

    What a forest misses on simulated rows says nothing about real servers.
    """
    real = cases.provenance != SIMULATED
    held = list(folds(cases, "leave-one-model-out", seed=seed))
    if not real.any() or len(np.unique(cases.model[real])) < 2 or not held:
        return UNPROVED
    score, _ = held_out_scores(cases, held, FOREST, seed=seed)
    level = np.empty(len(score))
    for mask in held:
        train = cases.only(~mask)
        fitted, _ = fit_regressor(train.matrix, train.level, weight=weights(train), seed=seed)
        level[mask] = fitted.predict(cases.matrix[mask])[:, 0]
    errors = (score + level - np.log(cases.value))[real]
    return Doubt(
        temperature=fit_temperature(cases.only(real), score[real]),
        level_sd=float(np.sqrt(np.mean(errors**2))),
        basis=f"errors on {int(real.sum())} measured options of models held out in turn",
    )


def save(predictor: Predictor, path: Path) -> None:
    """Write one file, whole or not at all."""
    about = np.frombuffer(msgspec.json.encode(predictor.about), dtype=np.uint8)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            about=about,
            **_named("lean", predictor.lean),
            **_named("level", predictor.level),
        )
    part.replace(path)


def _named(prefix: str, forest: Forest) -> dict[str, np.ndarray]:
    return {f"{prefix}_{name}": array for name, array in forest.arrays().items()}


def load_predictor(path: Path) -> Predictor:
    """Read a predictor that `save` wrote."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = msgspec.json.decode(arrays.pop("about").tobytes(), type=About)
        lean, level = (
            Forest.from_arrays(
                {
                    name.removeprefix(prefix): array
                    for name, array in arrays.items()
                    if name.startswith(prefix)
                }
            )
            for prefix in ("lean_", "level_")
        )
    except FileNotFoundError:
        raise BadFile(path, "no such predictor; make one with `moeserve predict fit`") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
        raise BadFile(path, f"not a predictor of moeserve ({str(error)[:120]})") from None
    if about.schema != SCHEMA:
        raise BadFile(path, f"schema {about.schema}; this version reads {SCHEMA}: fit it anew")
    return Predictor(about=about, lean=lean, level=level)
