"""The load at which the best strategy changes: a table that a router can use."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.predict.predictor import Predictor
from analysis.predict.recommend import Recommendation, RecommendationRequest, recommend
from orchestrator.results.record import Row

AtLoad = tuple[int, Recommendation]


def recommendations(
    request: RecommendationRequest,
    loads: Sequence[int],
    predictor: Predictor | None,
    *,
    prompts_per_load: int,
) -> list[AtLoad]:
    """What is recommended at each load, the smallest first."""
    asked = []
    for load in sorted(set(loads)):
        prompts = max(request.demand.num_prompts, prompts_per_load * load)
        demand = replace(request.demand, max_concurrency=load, num_prompts=prompts)
        asked.append((load, recommend(replace(request, demand=demand), predictor)))
    return asked


def stretches_of(asked: Sequence[AtLoad]) -> list[Row]:
    """One row for each stretch of loads with one best strategy.

    A stretch is clear when at every load of it the chance of being best is at least a half more
    than that of the runner-up and no option is tied with it; a router should not switch for one
    that is not. `runner_up` and `tied_with` name those of some load of it, `source` all that its
    loads rest on.
    """
    stretches: list[list[AtLoad]] = []
    for load, found in asked:
        last = stretches[-1][-1][1] if stretches else None
        if last is None or last.options[0].strategy != found.options[0].strategy:
            stretches.append([])
        stretches[-1].append((load, found))
    return [_row(stretch) for stretch in stretches]


def _row(stretch: Sequence[AtLoad]) -> Row:
    first, last = stretch[0], stretch[-1]
    best = [found.options[0] for _, found in stretch]
    rivals = [found.options[1] if len(found.options) > 1 else None for _, found in stretch]
    leads = [a.value / b.value - 1 for a, b in zip(best, rivals, strict=True) if b]
    margins = [
        a.probability - (b.probability if b else 0.0) for a, b in zip(best, rivals, strict=True)
    ]
    return {
        "from_concurrency": first[0],
        "to_concurrency": last[0],
        "strategy": best[0].strategy,
        "runner_up": ",".join(dict.fromkeys(each.strategy for each in rivals if each)) or None,
        "least_lead": min(leads) if leads else None,
        "least_probability": min(option.probability for option in best),
        "clear": min(margins) >= 0.5 and not any(each.tied_with for each in best),
        "tied_with": ",".join(dict.fromkeys(name for each in best for name in each.tied_with)),
        "source": ",".join(dict.fromkeys(each.source for each in best)),
    }
