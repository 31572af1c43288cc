"""A choice in sentences: what to use and by how much, how sure that is, what is in doubt."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.answer.choice import Choice, Lead, Place, weakest
from analysis.data.conditions import cells
from analysis.data.grid import conditions_of
from analysis.gpus import gpus_of
from analysis.question import ComparisonSpec
from analysis.statistics.contrast import Rule, planned_runs
from analysis.winners import Untested, margin_of
from orchestrator.results.quantities import is_higher_better
from orchestrator.results.record import SIMULATED

NOUNS = {
    "output_throughput": "tokens/s",
    "total_token_throughput": "tokens/s (input and output)",
    "output_throughput_per_gpu": "tokens/s per GPU",
    "request_throughput": "requests/s",
    "request_goodput": "requests/s within the limits",
}


UNTESTED: dict[Untested, tuple[str, str]] = {
    "unpaired": ("no block holds two of the layouts", "run them beside each other, as one study"),
    "copies": (
        "the replicates repeat one number, which is no evidence of spread",
        "plan {} runs of each layout",
    ),
    "launch": (
        "runs of one server launch count as one, and the launches are too few",
        "plan {} launches of each layout",
    ),
    "few": (
        "the runs are too few to tell a lead from the luck of a run",
        "plan {} replicates of each layout",
    ),
}
"""Why there is no test, and the way to one."""
LATENCIES = ("ttft", "tpot", "itl", "e2el")


def noun(response: str) -> str:
    """`tokens/s`, `mean TTFT`, `p99 ITL`; a column of one's own keeps its name."""
    match response.split("_"):
        case [statistic, latency, "ms"] if latency in LATENCIES:
            return f"{statistic} {latency.upper()}"
        case _:
            return NOUNS.get(response, response)


def headline(choice: Choice, rows: pd.DataFrame, spec: ComparisonSpec, provenance: str) -> str:
    """Say which layout, on which GPUs, by how much; ties and what is open by their names."""
    layouts = dict.fromkeys([*choice.layouts, *(n for at in choice.places for n in at.layouts)])
    named = {name: with_gpus(name, rows) for name in layouts}
    first, either = named[choice.layouts[0]], _either(choice.layouts, named)
    lead = "" if choice.lead is None else _lead(choice.lead, rows, spec)
    led = lead and f": {lead}"
    by_model = "by the model, " if provenance == SIMULATED else ""
    measure = "" if spec.response == "output_throughput" else f"by {noun(spec.response)}, "
    single = "" if by_model or choice.tested else f", in {_untested(rows)}"
    match choice.kind:
        case "use" | "ahead" if by_model or choice.kind == "use":
            return f"{by_model}use {first}{led}"
        case "ahead":
            return f"{first} is ahead{single}{led}"
        case "tie":
            here = " in these runs" if choice.standings["near"] and not by_model else ""
            beyond = lead and f", and {lead}"
            within = f"within {_margin(spec, provenance)} of each other"
            return f"{by_model}{measure}{either}: {within}{here}{beyond}"
        case "open" if len(choice.layouts) == 1:
            best = "is shown to be best"
            if choice.lead is not None and 1 < choice.lead.ratio.value <= 1 + margin_of(
                spec, simulated=provenance == SIMULATED
            ):
                best = f"leads by more than {_margin(spec, provenance)} on average{single}"
            return f"{by_model}no layout {best}; {first} is nowhere shown to be beaten{led}"
        case "open":
            average = lead and f"; on average {choice.layouts[0]} has {lead}"
            return f"{by_model}{measure}{either}: which is better is open{average}"
        case _:
            places = _places(choice, named, spec)
            return f"{by_model}{measure}it depends on {_on(choice)}{single}: {places}"


def sureness(choice: Choice, spec: ComparisonSpec, provenance: str) -> str:
    """Say how many conditions bear the headline out, by which test, and what would tell more."""
    margin = _margin(spec, provenance)
    counts = {
        "shown to lead (by more than {} in the mean)": choice.standings["shown"],
        "shown equal within {}": choice.standings["equal"],
        "within {} but not shown equal": choice.standings["near"],
        "open": choice.standings["open"],
        "not tested": choice.standings["untested"],
    }
    if not choice.tested and provenance == SIMULATED:
        near = choice.standings["near"]
        text = f"; within that in {_of(near, choice.conditions)}" if near else ""
        return f"How sure: a model says so, not a GPU; leads under {margin} are ties{text}"
    if not choice.tested:
        why, way = UNTESTED.get(choice.untested, UNTESTED["few"])
        return f"How sure: open, {why}; {way.format(planned_runs(spec.rule))}"
    told = [(text.format(margin), n) for text, n in counts.items() if n]
    parts = [f"{t} in {_of(n, choice.conditions) if not i else n}" for i, (t, n) in enumerate(told)]
    return f"How sure: {', '.join(parts)}{_test(choice, spec.rule)}"


def _of(count: int, total: int) -> str:
    return f"{count} of {total} condition{'s' * (total != 1)}"


def _margin(spec: ComparisonSpec, provenance: str) -> str:
    return share(margin_of(spec, simulated=provenance == SIMULATED))


def with_gpus(name: str, rows: pd.DataFrame) -> str:
    """`tp (2 × A100-80GB)`; the name alone where rows do not say."""
    text = gpus_of(rows[rows["strategy"] == name]).get(name, "")
    return f"{name} ({text})" if text else name


def _either(names: Sequence[str], told: Mapping[str, str]) -> str:
    """`tp (2 × H100) or ep (4 × H100)`; of three and more what all have alike is said once."""
    gpus = {told[name].removeprefix(name) for name in names}
    if len(names) < 3 or len(gpus) > 1:
        return " or ".join(told[name] for name in names)
    alike = gpus.pop().replace("(", "(each ", 1)
    return f"{', '.join(names[:-1])} or {names[-1]}{alike}"


def share(part: float) -> str:
    """`3 %`, `0.4 %`."""
    return f"{100 * part:.2g} %" if abs(part) < 0.995 else f"{100 * part:.0f} %"


def _lead(lead: Lead, rows: pd.DataFrame, spec: ComparisonSpec) -> str:
    ratio, over = lead.ratio, with_gpus(lead.over, rows)
    higher = is_higher_better(spec.response, spec.better)
    beside = "over" if higher else "against"
    text = f"{gain(ratio.value, higher)} {noun(spec.response)} {beside} {over}"
    if ratio.low is not None and ratio.high is not None:
        within = _interval(_change(ratio.low, higher), _change(ratio.high, higher))
        return f"{text} ({100 * (1 - spec.rule.alpha):g} % interval {within})"
    if math.isclose(lead.least, lead.most, rel_tol=5e-3):
        return text
    return f"{text} ({_span(_change(lead.least, higher), _change(lead.most, higher))} by condition)"


def gain(ratio: float, higher: bool) -> str:
    """A ratio that is above one where it is better, as the change of the quantity itself."""
    return _signed(_change(ratio, higher))


def _change(ratio: float, higher: bool) -> float:
    return ratio - 1 if higher else 1 / ratio - 1


def _signed(part: float) -> str:
    percent = round(100 * part) if abs(part) >= 0.095 else round(100 * part, 1)
    return f"{'−' if percent < 0 else '+'}{abs(percent):g} %"


def _places(choice: Choice, named: dict[str, str], spec: ComparisonSpec) -> str:
    """Who leads where and by how much; each layout's GPUs at its first mention."""
    higher, told, texts = is_higher_better(spec.response, spec.better), dict(named), []
    for place in choice.places:
        new = any(told[name] != name for name in place.layouts)
        names = _either(place.layouts, named if new and len(place.layouts) > 2 else told)
        told |= {name: name for name in place.layouts}
        texts.append(f"{names} {place.where}{_range(place, higher)}")
    return "; ".join(texts)


def _range(place: Place, higher: bool) -> str:
    """Its leads, and in how many of the place's conditions it has none to be named."""
    texts = []
    if place.least is not None and place.most is not None:
        texts.append(_span(_change(place.least, higher), _change(place.most, higher)))
    kinds = {"a tie": place.ties, "open": place.unsettled}
    told = [f"{name} in {count}" for name, count in kinds.items() if count]
    if told and len(place.layouts) == 1:
        texts.append(f"{' and '.join(told)} of {place.conditions}")
    return "".join(f", {text}" for text in texts)


def _span(one: float, other: float) -> str:
    """`+21 to +39 %`, `+24 %`."""
    low, high = (_signed(each) for each in sorted((one, other)))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _interval(one: float, other: float) -> str:
    """A span whose ends are told apart; within a tenth of a percent it is that one number."""
    low, high = (f"{100 * each:+.1f}".replace("-", "−") for each in sorted((one, other)))
    near = _signed(one) == _signed(other) and low != high
    return f"{low} to {high} %" if near else _span(one, other)


def _on(choice: Choice) -> str:
    """By what the places differ: their loads, their workloads, or both."""
    loads, workloads = (
        len({getattr(place, part) for place in choice.places}) > 1 for part in ("at", "workloads")
    )
    return " and ".join(["the load"] * loads + ["the workload"] * workloads)


def _untested(rows: pd.DataFrame) -> str:
    """What runs are called that allow no test: single ones, or too few or too alike."""
    cell = cells(rows, conditions_of(rows))
    single = rows.groupby([cell, rows["strategy"].astype(str)]).size().max() == 1
    return "single runs" if single else "runs that allow no test"


def _test(choice: Choice, rule: Rule) -> str:
    if not choice.pairs:
        return ""
    fewest = rule.fewest_pairs(1)
    if choice.pairs < fewest:
        few = f"{choice.pairs} pairs, too few for the exact test, which needs {fewest}"
        return f"; by t-interval of {few}"
    return "; after the correction for all comparisons"


def listed(texts: Sequence[str], most: int = 3) -> str:
    """The first few of many, and how many more."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def is_sure(choice: Choice) -> bool:
    """Whether every condition is shown to have a leader, or leaders that are equal."""
    return weakest(choice.standings) in ("shown", "equal")
