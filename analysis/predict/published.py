"""The nine cells of the A100 study's Table VI, each predicted without its model.

The table prints EP over TP, summed over seven concurrencies. Its training rows are therefore the
study's cells with the analytic model's shape over the concurrencies, brought to the printed means:
levels from Table IV (TP), ratios from Table VI. The features use constants that were fitted to no
measurement, since those of the A100 calibrations come from these very tables.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.predict.cases import Cases, joined
from analysis.predict.methods import FOREST, METHODS, OptionScores
from analysis.predict.read import read_cases
from orchestrator.results.record import Row
from perfmodel import reference
from perfmodel.a100_study import CONCURRENCIES, MODELS, workloads
from perfmodel.arrays import FloatArray
from perfmodel.constants import ROOFLINE

SPLIT = "published Table VI, model left out"
STRATEGIES = ("tp", "ep")
GPU = "A100-80GB"


def published_cases() -> Cases:
    """The study's TP and EP cells on two A100-80GB, at their printed levels and ratios."""
    frame = pd.DataFrame(
        {
            "provenance": "imported",
            "model": name,
            "strategy": strategy,
            "gpu_type": GPU,
            "workload": workload,
            "input_len": shape[0],
            "output_len": shape[1],
            "num_prompts": shape[2],
            "max_concurrency": concurrency,
            "output_throughput": 1.0,
        }
        for name in MODELS
        for workload, shape in workloads().items()
        for concurrency in CONCURRENCIES
        for strategy in STRATEGIES
    )
    cases = read_cases(frame, constants=ROOFLINE, tie=0.0)
    return replace(cases, value=_printed(cases))


def cells(cases: Cases) -> list[tuple[str, str]]:
    """Model and workload of each option."""
    names = {shape: name for name, shape in workloads().items()}
    traffic = [names[int(a), int(b), int(c)] for a, b, c, _ in cases.demand]
    return list(zip(map(str, cases.model), traffic, strict=True))


def ratios() -> dict[tuple[str, ...], float]:
    """EP over TP of each model and workload."""
    printed = reference.values(
        "parallelism_table6_ep_over_tp", ("model", "workload"), "ep_over_tp_percent"
    )
    return {key: percent / 100 for key, percent in printed.items()}


def _printed(cases: Cases) -> FloatArray:
    levels = reference.values(
        "parallelism_table4_throughput", ("model", "strategy"), "output_throughput_tok_s"
    )
    modelled = np.exp(cases.analytic)
    where, values = cells(cases), np.empty(len(modelled))
    for key, ratio in ratios().items():
        of_model = cases.model == key[0]
        here = np.array([each == key for each in where])
        tp, ep = (here & (cases.family == name) for name in STRATEGIES)
        level = levels[key[0], "tp"] / modelled[of_model & (cases.family == "tp")].mean()
        values[tp] = modelled[tp] * level
        values[ep] = modelled[ep] * ratio * values[tp].sum() / modelled[ep].sum()
    return values


def evaluate_published(study: Cases | None, *, seed: int = 0) -> Iterator[Row]:
    """Each method's choice in the nine cells, and what it loses by the printed ratios.

    `study` is training beside the other two models' cells; rows of the model asked about are
    taken out of both.
    """
    printed = published_cases()
    for method in METHODS:
        chosen: dict[tuple[str, str], str] = {}
        for name in MODELS:
            test = printed.only(printed.model == name)
            train = joined([printed.only(printed.model != name), *_without(study, name)])
            chosen |= _choices(test, METHODS[method](train, test, seed))
        yield _row(method, chosen)


def published_curve(*, seed: int = 0) -> Iterator[Row]:
    """The forest's regret by how many of the other models' cells it learned from.

    With none it is the analytic model alone; with one, the mean over which one.
    """
    printed = published_cases()
    for size in range(len(MODELS)):
        rows = [
            _row(FOREST, _learned(printed, name, others, seed))
            for name in MODELS
            for others in combinations([each for each in MODELS if each != name], size)
        ]
        yield {
            "split": f"{SPLIT}: learning curve",
            "provenance": "imported",
            "method": FOREST,
            "models_trained_on": size,
            "cases": sum(int(str(row["cases"])) for row in rows),
            "accuracy": float(np.mean([float(str(row["accuracy"])) for row in rows])),
            "mean_regret": float(np.mean([float(str(row["mean_regret"])) for row in rows])),
        }


def _learned(
    printed: Cases, name: str, others: tuple[str, ...], seed: int
) -> dict[tuple[str, str], str]:
    test = printed.only(printed.model == name)
    if not others:
        return _choices(test, METHODS["analytic"](test, test, seed))
    train = printed.only(np.isin(printed.model, others))
    return _choices(test, METHODS[FOREST](train, test, seed))


def _without(study: Cases | None, name: str) -> list[Cases]:
    return [] if study is None else [study.only(study.model != name)]


def _choices(test: Cases, scores: OptionScores) -> dict[tuple[str, str], str]:
    """The strategy with the larger mean over the concurrencies of each cell, as the table has."""
    where = cells(test)
    score = np.exp(scores.score) if scores.is_log else scores.score
    found = {}
    for key in dict.fromkeys(where):
        here = np.array([each == key for each in where])
        tp, ep = (float(score[here & (test.family == name)].mean()) for name in STRATEGIES)
        found[key] = "ep" if ep > tp else "tp"
    return found


def _row(method: str, chosen: dict[tuple[str, str], str]) -> Row:
    truth = ratios()
    lost, right = [], []
    for key, strategy in chosen.items():
        ratio = truth[key]
        taken = ratio if strategy == "ep" else 1.0
        lost.append(1 - taken / max(ratio, 1.0))
        right.append(taken == max(ratio, 1.0))
    wrong = [f"{model} {workload}: {chosen[model, workload]}" for (model, workload), ok in
             zip(chosen, right, strict=True) if not ok]  # fmt: skip
    return {
        "split": SPLIT,
        "provenance": "imported",
        "method": method,
        "cases": len(chosen),
        "models": len(MODELS),
        "accuracy": float(np.mean(right)),
        "majority_baseline": float(np.mean([ratio <= 1 for ratio in truth.values()])),
        "mean_regret": float(np.mean(lost)),
        "worst_regret": max(lost),
        "wrong": "; ".join(wrong),
    }
