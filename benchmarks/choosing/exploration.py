"""Compare the samplers of an exploration on the simulated engine: regret after a budget of runs.

    python benchmarks/choosing/exploration.py

Each problem is a model on up to so many GPUs and asks for the most tokens a second a GPU under a
limit on the time per token. The whole space is simulated once, so that the best is known.
"""

from collections.abc import Mapping

import numpy as np

from analysis.landscape.explore import SAMPLERS, Sampler, Trial, best, explore
from analysis.landscape.objective import parse_objectives
from analysis.landscape.ranked_landscape import parse_criteria
from analysis.landscape.ranking import Criteria
from analysis.landscape.space import Configuration, feasible, layouts_within
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.closed_loop import ClosedLoop
from perfmodel.serving import server
from perfmodel.simulate import simulate

PROBLEMS = (("OLMoE-1B-7B", "H100", 8, 8.0), ("Mixtral-8x7B", "H100", 8, 20.0),
            ("Qwen3-30B-A3B", "A100-80GB", 8, 60.0))  # fmt: skip
LOADS = (1, 4, 8, 16, 32, 64)
BUDGETS = (10, 20, 30)
SEEDS = 6
INPUT, OUTPUT = 256, 64


def main() -> None:
    losses: dict[tuple[Sampler, int], list[float]] = {}
    for name, hardware, gpus, limit_ms in PROBLEMS:
        spec, device = model(name), gpu(hardware)
        layouts = feasible(spec, device, layouts_within(gpus), longest=INPUT + OUTPUT)
        space = [Configuration(layout, load) for layout in layouts for load in LOADS]
        found = {each: _simulated(name, hardware, each) for each in space}
        criteria = parse_criteria(
            parse_objectives([], ["output_throughput_per_gpu"]),
            [f"mean_tpot_ms <= {limit_ms} ms"],
            how=None,
        )
        everything = [Trial(i, i, each, found[each]) for i, each in enumerate(space)]
        oracle = best(everything, criteria)
        assert oracle is not None
        print(
            f"{name} on up to {gpus} {hardware}: {len(space)} configurations, best "
            f"{oracle.configuration.layout.name} at {oracle.configuration.max_concurrency}"
        )
        for sampler in SAMPLERS:
            for seed in range(SEEDS):
                for budget, chosen in _after(space, found, criteria, sampler, seed).items():
                    loss = 1.0 if chosen is None else 1 - _value(chosen) / _value(oracle)
                    losses.setdefault((sampler, budget), []).append(loss)
    _print(losses)


def _after(
    space: list[Configuration],
    found: Mapping[Configuration, dict[str, float]],
    criteria: Criteria,
    sampler: Sampler,
    seed: int,
) -> dict[int, Trial | None]:
    """The best after each budget; only the grid depends on the budget from the start."""
    if sampler == "grid":
        return {
            budget: best(
                explore(space, found.get, criteria, budget=budget, sampler="grid", seed=seed),
                criteria,
            )
            for budget in BUDGETS
        }
    trials = explore(space, found.get, criteria, budget=max(BUDGETS), sampler=sampler, seed=seed)
    return {budget: best(trials[:budget], criteria) for budget in BUDGETS}


def _print(losses: Mapping[tuple[Sampler, int], list[float]]) -> None:
    for (sampler, budget), values in losses.items():
        half = 1.96 * np.std(values, ddof=1) / np.sqrt(len(values))
        print(f"  {sampler:7} after {budget} runs: mean regret {np.mean(values):.3f} ± {half:.3f}")


def _value(trial: Trial) -> float:
    assert trial.metrics is not None
    return trial.metrics["output_throughput_per_gpu"]


def _simulated(name: str, hardware: str, each: Configuration) -> dict[str, float]:
    built = server(model(name), each.layout, gpu(hardware), longest=INPUT + OUTPUT)
    count = max(8, 2 * each.max_concurrency)
    loop = ClosedLoop(count, each.max_concurrency)
    result = simulate(loop, [(INPUT, OUTPUT)] * count, built.step_model, limits=built.limits)
    first = np.array([times[0] for times in result.token_times_s])
    return {
        "output_throughput_per_gpu": count * OUTPUT / result.done_s.max() / each.layout.num_gpus,
        "mean_tpot_ms": float((result.done_s - first).mean()) / (OUTPUT - 1) * 1e3,
    }


if __name__ == "__main__":
    main()
