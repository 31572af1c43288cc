"""What vLLM chose by itself: kernels, graphs, budgets. Two arms that differ in these differ in more
than their layout (public cases: 30 % to 1.9 times from one kernel's default).

The chosen kernels are in the log alone, the settled configuration in `/server_info`.
"""

import re
from collections.abc import Mapping

from orchestrator.engines.vllm.log_facts import arguments_told
from orchestrator.measure.server_log import clean, unwrapped

LONGEST = 80
"""Characters of a choice that are kept."""


def _line(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", r"\s{1,4}"), re.MULTILINE)


# The first form that a log has decides. Names as vLLM gives them, from 0.8 to 0.32.
_TOLD: Mapping[str, tuple[re.Pattern[str], ...]] = {
    "moe_backend": (
        _line(r"Using '?([\w .-]{1,40}?)'? (?:Unquantized|[Ff][Pp]8|NvFp4|NVFP4|Mx[Ff]p\d|MXFP\d"
              r"|WNA16|Int\d|W\dA\d(?: \w{1,8})?)(?: \w{1,12})? MoE backend"),
        _line(r"Using (\w{1,60}) MoE backend"),
    ),
    "attention_backend": (
        _line(r"Using ([\w-]{1,40}) attention backend"),
        _line(r"Using ([\w-]{1,30}(?: [\w-]{1,20}){0,2}?)(?<!MoE) backend(?: on V1 engine)?\.?$"),
    ),
    "all2all_backend": (_line(r"Using ([\w-]{1,60}) all2all manager"),),
    "all_reduce": (_line(r"Using (\[[^\]\n]{1,200}\]) all-reduce backends"),),
    "max_num_batched_tokens": (
        _line(r"max_num_batched_tokens=(\d{1,9})"),
        _line(r"max_num_batched_tokens is (\d{1,9})"),
    ),
    "nccl_version": (
        _line(r"vLLM is using nccl==([\w.]{1,20})"),
        _line(r"NCCL version ([\d.]{3,20})"),
    ),
    "model_runner": (_line(r"Using (V\d) Model Runner"), _line(r"using the (V\d) model runner")),
    "kv_cache_dtype": (_line(r"kv_cache_dtype=([\w.]{1,30})"),),
    "quantization": (_line(r"(?<![\w'\"])quantization=([\w.-]{1,40})"),),
    "dtype": (_line(r"(?<![\w'\"])dtype=(?:torch\.)?([\w.]{1,30})"),),
    "cuda_graphs": (_line(r"'cudagraph_mode': <?(?:CUDAGraphMode\.)?(\w{1,40})"),),
}  # fmt: skip
_TUNED = _line(r"Using configuration from [^\n]{1,300} for MoE layer|Using default MoE config")
_GRAPHS = _line(r"Graph capturing finished")
_EAGER = _line(r"disabling torch\.compile and CUDAGraphs|enforce_eager=True")
_NAMES = re.compile(r"'([\w.-]{1,40})'")


def choices_told(log: str) -> dict[str, str]:
    """What a log tells that the server chose, by column; what it does not tell is left out."""
    text = unwrapped(clean(log))
    found = {name: told for name, forms in _TOLD.items() if (told := _first(text, forms))}
    tuned = {"configuration" in each for each in _TUNED.findall(text)}
    if tuned:
        # One layer without a table is enough to be slow.
        found["moe_config"] = "tuned" if tuned == {True} else "default"
    if "all_reduce" in found:
        found["all_reduce"] = "+".join(_NAMES.findall(found["all_reduce"])) or "none"
    found |= _graphs(text, found)
    if found.get("quantization") == "None":
        found["quantization"] = "none"
    given = arguments_told(text) or {}
    asked = {name: given[name] for name in ("max_num_seqs",) if name in given}
    return {**asked, **found}


def _first(text: str, forms: tuple[re.Pattern[str], ...]) -> str:
    """The first form that is there; different answers of ranks or layers stand side by side."""
    for form in forms:
        told = sorted({" ".join(each.split())[:LONGEST] for each in form.findall(text)})
        if told:
            return "+".join(told)[:LONGEST]
    return ""


def _graphs(text: str, found: Mapping[str, str]) -> dict[str, str]:
    """Whether there are CUDA graphs: the configured mode, unless none were captured."""
    mode = found.get("cuda_graphs", "")
    if _GRAPHS.search(text):
        return {"cuda_graphs": mode or "captured"}
    return {"cuda_graphs": "none"} if mode == "NONE" or _EAGER.search(text) else {}
