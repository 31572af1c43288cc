"""Workload profiles: how long the prompts and the outputs are, and how many are sent."""

import re

import msgspec

from catalog.errors import BadValue, UnknownName

ALLOWED = "INPUT:OUTPUT:PROMPTS with whole numbers of at least 1, or PROMPTS 'auto' (1024:512:20)"
LARGEST = 10_000_000
WAVES = 5
FEWEST = 64


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts of `input_len` tokens, each answered with exactly `output_len` tokens."""

    name: str
    input_len: int
    output_len: int
    num_prompts: int | None
    """None sizes each run by its concurrency, see `prompts_for`."""

    def prompts_for(self, max_concurrency: int | None) -> int:
        """Return how many requests a run sends.

        `auto` sends five waves of the concurrency: the first ramps up, the last drains, and the
        requested concurrency is held for the three to four between them.
        """
        if self.num_prompts is not None:
            return self.num_prompts
        return max(FEWEST, WAVES * (max_concurrency or 0))


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


def parse_workload(text: str) -> Workload:
    """Read a profile's name or an explicit `INPUT:OUTPUT:PROMPTS`."""
    name = text.strip()
    if name in PROFILES:
        return PROFILES[name]
    if ":" not in name:
        raise UnknownName("workload", name, PROFILES, hint=f"Or give {ALLOWED}.")
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9}|auto)", name)
    if match is None:
        raise BadValue("workload", text, ALLOWED)
    inputs, outputs = int(match[1]), int(match[2])
    prompts = None if match[3] == "auto" else int(match[3])
    if (
        not all(1 <= number <= LARGEST for number in (inputs, outputs, prompts or 1))
        or prompts == 0
    ):
        raise BadValue("workload", text, f"{ALLOWED}, at most {LARGEST:,}")
    return Workload(name=name, input_len=inputs, output_len=outputs, num_prompts=prompts)
