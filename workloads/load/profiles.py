"""Named workloads, and the reading of any."""

import re
from collections.abc import Mapping
from pathlib import Path

from catalog.errors import BadValue, UnknownName
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
TEXTS: Mapping[str, str] = {
    name: f"{each.input_len}:{each.output_len}:{each.num_prompts}"
    for name, each in PROFILES.items()
}
"""What each name stands for in the language."""
_LAB = re.compile(r"([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9}|auto)", re.ASCII)
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
    return build(name, TEXTS, tokenizer)


def _laboratory(text: str, name: str, match: re.Match[str]) -> Workload:
    """Return a workload of one input and one output length."""
    inputs, outputs = int(match[1]), int(match[2])
    prompts = None if match[3] == "auto" else int(match[3])
    if (
        not all(1 <= number <= LARGEST for number in (inputs, outputs, prompts or 1))
        or prompts == 0
    ):
        raise BadValue("workload", text, f"{ALLOWED}, at most {LARGEST:,}")
    return Workload(name=name, input_len=inputs, output_len=outputs, num_prompts=prompts)
