"""Fit the A100 study's constants anew, with each model left out in turn.

    python benchmarks/perfmodel/fit_a100_study.py

Prints the two calibrations `a100-vllm` and `a100-vllm-growth` as they come out of the study's
tables, their errors, and what they predict for a model they have not seen. Needs scipy.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
from scipy.optimize import least_squares

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.a100_study import HARDWARE, MODELS, study_cells, workloads
from perfmodel.arrays import FloatArray
from perfmodel.constants import A100_VLLM, Constants
from perfmodel.features import Features, MeasuredRun, features
from perfmodel.reference import table
from perfmodel.serving import ServerSettings
from strategies.parse import parse_layout

CELLS = study_cells()
QWEN = "Qwen1.5-MoE-A2.7B"
POINT = next(
    i
    for i, cell in enumerate(CELLS)
    if (cell.model, cell.strategy, cell.workload, cell.concurrency)
    == (QWEN, "tp", "decode-heavy", 128)
)
PRINTED = {
    (row["model"], row["strategy"]): float(row["output_throughput_tok_s"])
    for row in table("parallelism_table4_throughput")
}
SETUP = ServerSettings(prefix_cached=True)
BARE = msgspec.structs.replace(A100_VLLM, dispatch_launches=0.0, hybrid_launches=0.0)


def main() -> None:
    study = CalibrationStudy()
    for name, fit in (("a100-vllm", study.fit_latency), ("a100-vllm-growth", study.fit_growth)):
        constants = fit(MODELS)
        print(f"\n{name}: {described(constants)}")
        print(study.table(constants))
        print("each model left out of its own fit:")
        for left_out in MODELS:
            others = tuple(each for each in MODELS if each != left_out)
            errors = study.errors(fit(others))
            shown = ", ".join(f"{s} {errors[left_out, s]:+.1%}" for s in HARDWARE)
            print(f"  {left_out}: {shown}")


def described(constants: Constants) -> str:
    fields = (
        "kernel_s", "sequence_s", "dispatch_launches", "hybrid_launches", "shared_launches",
        "hybrid_growth_s", "shared_growth_s",
    )  # fmt: skip
    return ", ".join(f"{name} = {getattr(constants, name):.4g}" for name in fields)


class CalibrationStudy:
    """The study's 189 cells as tables of steps, so that any constants are priced at once."""

    def __init__(self) -> None:
        runs = [measured(number) for number in range(len(CELLS))]
        self._plain = features(runs, SETUP, BARE)
        unit = msgspec.structs.replace(BARE, dispatch_launches=1.0, hybrid_launches=1.0)
        self._dispatch = features(runs, SETUP, unit).launches - self._plain.launches
        other = msgspec.structs.replace(BARE, shared_launches=BARE.shared_launches + 1)
        self._shared = features(runs, SETUP, other).launches - self._plain.launches
        growing = msgspec.structs.replace(BARE, hybrid_growth_s=1.0)
        self._hybrid_growth = features(runs, SETUP, growing).growth_s
        growing = msgspec.structs.replace(BARE, shared_growth_s=1.0)
        self._shared_growth = features(runs, SETUP, growing).growth_s
        self._tokens = np.array([run.output_len * run.num_prompts for run in runs])
        hybrid = np.array([cell.strategy == "tp+ep" for cell in CELLS])
        self._hybrid = hybrid[self._plain.run]

    def throughput(self, constants: Constants) -> FloatArray:
        """Output tokens a second of every cell."""
        further = np.where(self._hybrid, constants.hybrid_launches, constants.dispatch_launches)
        more_shared = constants.shared_launches - BARE.shared_launches
        priced: Features = replace(
            self._plain,
            launches=self._plain.launches + further * self._dispatch + more_shared * self._shared,
            growth_s=constants.hybrid_growth_s * self._hybrid_growth
            + constants.shared_growth_s * self._shared_growth,
        )
        return self._tokens / priced.duration_s(constants, len(CELLS))

    def errors(self, constants: Constants) -> dict[tuple[str, str], float]:
        """Modelled over printed mean of table IV, less 1."""
        rates = self.throughput(constants)
        return {key: mean(rates, *key) / printed - 1 for key, printed in PRINTED.items()}

    def fit_latency(self, models: Sequence[str]) -> Constants:
        """kernel_s, sequence_s, dispatch_launches on the TP and EP means, then hybrid_launches."""
        constants = self._fit(
            A100_VLLM, ("kernel_s", "sequence_s", "dispatch_launches"), models, ("tp", "ep")
        )
        return self._fit(constants, ("hybrid_launches",), models, ("tp+ep",))

    def fit_growth(self, models: Sequence[str]) -> Constants:
        """As above with growth for hybrid_launches, and Qwen's two for its shared experts."""
        constants = self.fit_latency(models)
        started = msgspec.structs.replace(constants, hybrid_launches=0.0, hybrid_growth_s=1e-4)
        if QWEN in models:
            started = self._fit_shared(msgspec.structs.replace(started, shared_growth_s=5e-8))
        plain = msgspec.structs.replace(started, shared_launches=7.0, shared_growth_s=0.0)
        # The hybrid constant is fitted beside the plain counts, as the shared ones came after it.
        hybrid = self._fit(plain, ("hybrid_growth_s",), models, ("tp+ep",)).hybrid_growth_s
        return msgspec.structs.replace(started, hybrid_growth_s=hybrid)

    def _fit_shared(self, constants: Constants) -> Constants:
        def residuals(constants: Constants) -> list[float]:
            rates = self.throughput(constants)
            measured_mean = PRINTED[QWEN, "tp"]
            return [
                float(np.log(rates[POINT] / 2317.0)),
                float(np.log(mean(rates, QWEN, "tp") / measured_mean)),
            ]

        return solve(constants, ("shared_launches", "shared_growth_s"), residuals)

    def _fit(
        self,
        constants: Constants,
        names: tuple[str, ...],
        models: Sequence[str],
        strategies: tuple[str, ...],
    ) -> Constants:
        def residuals(constants: Constants) -> list[float]:
            errors = self.errors(constants)
            return [float(np.log1p(errors[m, s])) for m in models for s in strategies]

        return solve(constants, names, residuals)

    def table(self, constants: Constants) -> str:
        rates, errors = self.throughput(constants), self.errors(constants)
        lines = [
            f"  {name:18} "
            + "  ".join(
                f"{s} {mean(rates, name, s):.1f} of {PRINTED[name, s]} ({errors[name, s]:+.1%})"
                for s in HARDWARE
            )
            for name in MODELS
        ]
        total = float(((rates - rates.mean()) ** 2).sum())
        shares = ", ".join(
            f"{factor} {share(rates, factor, total):.3f}"
            for factor in ("concurrency", "strategy", "model")
        )
        peak = {(name, s): rates[index(name, s)] for name in MODELS for s in HARDWARE}
        ratios = ", ".join(f"{peak[n, 'tp+ep'] / peak[n, 'tp']:.3f}" for n in MODELS)
        qwen = ", ".join(f"{s} {peak[QWEN, s]:.0f}" for s in ("tp", "ep"))
        lines += [
            f"  ANOVA shares: {shares}; total {total / 1e6:.1f}e6",
            f"  hybrid over TP, decode-heavy at 128: {ratios}; Qwen there: {qwen}",
        ]
        for name in MODELS:
            by_workload = ", ".join(f"{w} {ratio(rates, name, w):.3f}" for w in workloads())
            lines.append(f"  EP over TP, {name}: {by_workload}")
        return "\n".join(lines)


def solve(
    constants: Constants,
    names: tuple[str, ...],
    residuals: Callable[[Constants], list[float]],
) -> Constants:
    """Least squares over the logarithms of the named constants."""

    def changed(x: FloatArray) -> Constants:
        return msgspec.structs.replace(
            constants, **dict(zip(names, np.exp(x).tolist(), strict=True))
        )

    start = np.log([getattr(constants, name) for name in names])
    return changed(least_squares(lambda x: residuals(changed(x)), start).x)


def measured(number: int) -> MeasuredRun:
    cell = CELLS[number]
    prompt, output, count = workloads()[cell.workload]
    return MeasuredRun(
        model(cell.model), parse_layout(cell.strategy), gpu(HARDWARE[cell.strategy]),
        prompt, output, count, cell.concurrency, float("nan"),
    )  # fmt: skip


def mean(rates: FloatArray, name: str, strategy: str) -> float:
    chosen = [cell.model == name and cell.strategy == strategy for cell in CELLS]
    return float(rates[np.array(chosen)].mean())


def index(name: str, strategy: str) -> int:
    at = (name, strategy, "decode-heavy", 128)
    return next(
        i
        for i, cell in enumerate(CELLS)
        if (cell.model, cell.strategy, cell.workload, cell.concurrency) == at
    )


def ratio(rates: FloatArray, name: str, workload: str) -> float:
    sums = [
        rates[[c.model == name and c.workload == workload and c.strategy == s for c in CELLS]].sum()
        for s in ("ep", "tp")
    ]
    return float(sums[0] / sums[1])


def share(rates: FloatArray, factor: str, total: float) -> float:
    levels = np.array([str(getattr(cell, factor)) for cell in CELLS])
    between = sum(
        (levels == level).sum() * (rates[levels == level].mean() - rates.mean()) ** 2
        for level in set(levels)
    )
    return float(between) / total


if __name__ == "__main__":
    main()
