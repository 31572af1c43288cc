"""The formats that are known, and a word for files that are nearly one."""

from collections.abc import Callable, Sequence

from analysis.importers import (
    aiperf,
    guidellm,
    inference_perf,
    inferencex,
    llmperf,
    sglang,
    trtllm,
    vllm,
)
from analysis.importers.document import Document
from analysis.importers.result import ImportedRun

Matches = Callable[[Document], bool]
FORMATS: dict[str, tuple[Matches, Callable[[Document], Sequence[ImportedRun]]]] = {
    "vllm bench serve": (vllm.matches, lambda d: [vllm.result(d)]),
    "sglang": (sglang.matches, lambda d: [sglang.result(d)]),
    "guidellm": (guidellm.matches, guidellm.results),
    "aiperf": (aiperf.matches, lambda d: [aiperf.result(d)]),
    "inference-perf": (inference_perf.matches, lambda d: [inference_perf.result(d)]),
    "inferencex": (inferencex.matches, inferencex.results),
    "llmperf": (llmperf.matches, lambda d: [llmperf.result(d)]),
    "trtllm-bench": (trtllm.matches, lambda d: [trtllm.result(d)]),
}
RUN_TABLE = {"strategy", "output_throughput", "max_concurrency", "workload", "model"}


def runs_of(document: Document) -> Sequence[ImportedRun]:
    """The runs of one object; BadFile says why there are none."""
    if why := _no_run(document):
        raise document.bad(why)
    name = next((name for name, (matches, _) in FORMATS.items() if matches(document)), None)
    if name is None:
        raise document.bad(_unknown(document))
    runs = FORMATS[name][1](document)
    if not runs or any(all(value is None for value in run.summary.values()) for run in runs):
        raise document.bad(f"{name}, but without a figure: a run that did not finish?")
    return runs


def repeats(document: Document) -> str:
    """Why an object holds no run of its own though its format is known; empty where it does."""
    if aiperf.is_aggregate(document):
        return "sums up runs of AIPerf; give each run's profile_export_aiperf.json"
    return inference_perf.is_repeat(document)


def _no_run(document: Document) -> str:
    if aiperf.is_records(document):
        return "holds single requests; give profile_export_aiperf.json beside it"
    if llmperf.is_request(document):
        return "holds single requests of LLMPerf; give the …_summary.json beside it"
    if guidellm.is_older(document):
        return "a report of GuideLLM before 0.5, which has other figures: measure with a newer one"
    if {"build_commit", "n_prompt", "avg_ts"} <= set(document.data):
        return "llama-bench: single sequences without a load, not a serving benchmark"
    return repeats(document) or ("" if vllm.matches(document) else vllm.is_unfinished(document))


def _unknown(document: Document) -> str:
    keys = list(map(str, document.data))
    if len(set(keys) & RUN_TABLE) >= 2 or document.path.suffix.lower() == ".csv":
        return (
            "no tool's result but a table of runs: give it to the analysis commands themselves, "
            "with --column OWN=NAME where its columns have other names"
        )
    known = ", ".join(FORMATS)
    return (
        f"none of the known formats ({known}); its keys begin {', '.join(keys[:4])}; what it "
        "measured can stand in a CSV with the columns of docs/columns.md"
    )
