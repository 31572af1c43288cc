"""InferenceX's aggregate JSON: seconds, throughputs per GPU, layout by degree.

It keeps neither counts nor the duration; its runs send ten requests a concurrent user.
"""

from analysis.importers.document import Document
from analysis.importers.labels import layout_of
from analysis.importers.result import STATISTICS, Number, Result
from strategies import Layout

PROMPTS_PER_USER = 10


def matches(source: Document) -> bool:
    return {"conc", "isl", "osl", "tput_per_gpu"} <= set(source.data)


def result(source: Document) -> Result:
    layout = _layout(source)
    gpus = _gpus(source, layout)
    summary: dict[str, Number] = {
        f"{s}_{metric}_ms": source.number(f"{s}_{metric}", times=1e3)
        for metric in ("ttft", "tpot", "itl", "e2el")
        for s in STATISTICS
    }
    if gpus:
        summary["output_throughput"] = source.number("output_tput_per_gpu", times=gpus)
        summary["total_token_throughput"] = source.number("tput_per_gpu", times=gpus)
        summary["output_throughput_per_gpu"] = source.number("output_tput_per_gpu")
    concurrency = source.count("conc")
    return Result(
        source=source,
        tool="inferencex",
        model=source.text("model"),
        backend=source.text("framework"),
        layout=layout,
        gpu_type=source.text("hw"),
        input_len=source.count("isl"),
        output_len=source.count("osl"),
        num_prompts=PROMPTS_PER_USER * (concurrency or 0),
        max_concurrency=concurrency,
        summary=summary,
        extra={"precision": source.text("precision"), "num_prompts_source": "10 a user by rule"},
    )


def _layout(source: Document) -> Layout | None:
    """Attention replicated over the ranks (`dp_attention`) is data parallelism in vLLM's terms."""
    tp, pp, ep = (source.count(name) for name in ("tp", "pp", "ep"))
    if source.get("disagg") in (True, "true"):
        return None
    spread = (ep or 1) > 1
    if source.get("dp_attention") in (True, "true"):
        return layout_of(1, pp, tp, ep=spread)
    return layout_of(tp, pp, None, ep=spread)


def _gpus(source: Document, layout: Layout | None) -> int | None:
    """GPUs of a disaggregated set-up are the sum of both pools."""
    pools = [source.count(name) for name in ("num_prefill_gpu", "num_decode_gpu")]
    if any(pools):
        return sum(pool or 0 for pool in pools)
    return layout.num_gpus if layout else None
