"""Named workloads, and the reading of any."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from catalog.errors import BadValue, InputError, UnknownName
from workloads.load.build import ALLOWED, build
from workloads.load.language import FILES, LARGEST, OPTIONS
from workloads.load.workload import Workload

# The prompt counts are those of the published study of parallel layouts. They cap the concurrency
# that a run can reach (20 prompts never are 128 in flight); `auto` lifts the cap.
PROFILES: dict[str, Workload] = {
    name: Workload(name=name, input_len=inputs, output_len=outputs, num_prompts=prompts)
    for name, inputs, outputs, prompts in (
        ("decode-heavy", 128, 128, 100),
        ("prefill-heavy", 512, 256, 50),
        ("balanced", 1024, 512, 20),
    )
}
# Lognormal where a trace's mean and median are known: cv² = (mean/median)² − 1. Else the mean.
REAL: Mapping[str, str] = {
    # Azure's conversation service, 16 November 2023 (Patel et al., Splitwise, ISCA 2024), 19,366
    # requests: prompts of mean 1,155 and median 1,020 tokens, answers of 211 and 129.
    "chat": "1155~0.53:211~1.29:auto",
    # Azure's coding service of the same day, 8,819 requests: 2,048 and 1,469, answers of 28 and 13.
    "code-completion": "2048~0.97:28~1.91:auto",
    # Mooncake's «synthetic» trace of ShareGPT, L-Eval and LooGLE (Qin et al., FAST 2025, table 2):
    # prompts of mean 15,325 and median 11,587, answers of mean 149.
    "summarisation": "15325~0.87:149:auto",
    # MLPerf Inference 5.0, Llama 3.1 405B (LongBench, RULER and GovReport, chosen for retrieval):
    # means of 9,400 and 680.
    "rag": "9400:680:auto",
    # Alibaba Bailian's «thinking» trace (Wang et al., KVCache Cache in the Wild, ATC 2025), 10,812
    # requests: prompts of mean 4,763 and median 3,680, answers of 3,651 and 1,665.
    "reasoning": "4763~0.82:3651~1.95:auto",
    # Mooncake's «tool&agent» trace (table 2), 23,608 requests: prompts of mean 8,596, 59 % of them
    # in the cache, and three system prompts before nearly all; answers of mean 182.
    "agent": "3524:182:auto,prefix=5072x3",
}
"""Named after uses, with lengths that were published for them."""
TEXTS: Mapping[str, str] = {
    **{name: f"{w.input_len}:{w.output_len}:{w.num_prompts}" for name, w in PROFILES.items()},
    **REAL,
}
"""What each name stands for in the language."""
_LAB = re.compile(r"([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9}|auto)", re.ASCII)
_CLASS = re.compile(r" (?:part|turn)=\S+$")
_OF_FILE = re.compile(rf"(?:^|[=+])(?:{'|'.join(FILES)}):")
_FURTHER = re.compile(rf"[-~@+=]|,({'|'.join(OPTIONS)})|^({'|'.join(FILES)}):")


def parse_workload(text: str, tokenizer: Path | None = None) -> Workload:
    """Read a profile's name or any text of the language.

    `tokenizer` is the folder of the model's, for files of prompts; without it text stays text.
    """
    name = text.strip()
    if name in PROFILES:
        return PROFILES[name]
    if (match := _LAB.fullmatch(name)) is not None:
        return _laboratory(text, name, match)
    if not _FURTHER.search(name) and name not in TEXTS:
        if ":" not in name:
            raise UnknownName("workload", name, TEXTS, hint=f"Or give {ALLOWED}.")
        raise BadValue("workload", text, ALLOWED)
    found = build(name, TEXTS, tokenizer)
    # 64-64:32:20 and 64:32,prompts=20 are 64:32:20, whose traffic is the one of that name.
    return parse_workload(found.name) if is_laboratory(found.name) else found


def is_laboratory(name: str) -> bool:
    """Whether a workload of this name has one input and one output length and shares nothing."""
    return name in PROFILES or _LAB.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def is_traffic(name: str) -> bool:
    """Whether a name is a text of the language whose requests are not all alike.

    No file is opened, and a class of a run (`… part=chat`) is one of traffic. What is no text of
    the language, such as another tool's name for its data set, says nothing: False.
    """
    text = _CLASS.sub("", name.strip())
    if is_laboratory(text):
        return text != name.strip()
    if _OF_FILE.search(text):
        return True
    try:
        return bool(parse_workload(text).parts)
    except InputError:
        return False


def _laboratory(text: str, name: str, match: re.Match[str]) -> Workload:
    """Return a workload of one input and one output length."""
    inputs, outputs = int(match[1]), int(match[2])
    prompts = None if match[3] == "auto" else int(match[3])
    if (
        not all(1 <= number <= LARGEST for number in (inputs, outputs, prompts or 1))
        or prompts == 0
    ):
        raise BadValue("workload", text, f"{ALLOWED}, at most {LARGEST:,}")
    name = f"{inputs}:{outputs}:{prompts or 'auto'}"
    return Workload(name=name, input_len=inputs, output_len=outputs, num_prompts=prompts)
