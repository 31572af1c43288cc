"""What vLLM's server takes for a step's tokens, sequences and graphs unless told otherwise.

`data/engine_defaults.csv`: one rule a row, with its source; the first that fits decides. Read from
`get_batch_defaults` and `_set_cudagraph_sizes` of the releases 0.10.2, 0.11, 0.12, 0.16, 0.18 to
0.20, 0.22, 0.24, 0.26 to 0.28, 0.30 and 0.32, whose rules change between 0.27 and 0.28 alone.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from catalog.errors import BadValue
from catalog.hardware import Gpu
from catalog.units import GIB
from catalog.versions import release
from strategies.layout import Layout

NEWEST_READ = "0.32"
BATCHED_EXCHANGE = ("deepep_low_latency", "nixl_ep")
"""All-to-all back ends of fixed buffers, which bound the tokens of a data-parallel rank's step."""
BATCHED_SINCE, BATCHED_TOKENS = "0.20.0", 256
"""`use_batched_dp_moe` of vllm/config/parallel.py, and what it means in vllm/config/scheduler.py;
0.19 does not have it, 0.20 does."""

AHEAD_SINCE = "0.14.0"
"""Asynchronous scheduling is on by default from here, but for pipelines and on CPUs
(https://github.com/vllm-project/vllm/releases/tag/v0.14.0, its pull request 27614)."""
NEVER_AHEAD = ("CPU", "MI", "Gaudi", "TPU")
"""How devices begin whose host waits: ROCm's launch of a graph holds the calling thread until the
graph is nearly done (vLLM's issue 43801); of Gaudi's and TPU's own runners nothing was read."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One row: from which version, for which devices."""

    since: str
    device: str
    """Parts of names, any of which is enough; empty is every device."""
    least_gib: float
    max_num_batched_tokens: int
    max_num_seqs: int
    per_worker: str
    """Not empty where both count for each of tp · pp workers."""
    graph_tokens: int
    """The most tokens that a captured graph holds, 0 where none are captured."""
    source: str

    def fits(self, gpu: Gpu, version: tuple[int, ...]) -> bool:
        named = [part.lower() in gpu.name.lower() for part in self.device.split()]
        held = gpu.memory_bytes >= self.least_gib * GIB
        return held and (any(named) or not named) and version >= release(self.since)


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """What a server takes on a GPU."""

    max_num_batched_tokens: int
    max_num_seqs: int
    graph_tokens: int
    source: str

    def graphs(self, max_num_seqs: int, max_num_batched_tokens: int) -> int:
        """The most tokens of a step that is one captured graph, 0 where none is.

        Twice the sequences, within the budget and what is captured at most. gpt-oss has 1024 of
        its own (992 in 0.11), whatever the GPU.
        """
        return min(self.graph_tokens, 2 * max_num_seqs, max_num_batched_tokens)


@cache
def rules() -> tuple[Rule, ...]:
    """The table, newest version first."""
    text = files("perfmodel").joinpath("data", "engine_defaults.csv").read_text()
    return msgspec.convert(tuple(csv.DictReader(text.splitlines())), tuple[Rule, ...], strict=False)


def oldest() -> str:
    """The version that the table begins with."""
    return min((rule.since for rule in rules()), key=release)


def known_version(text: str) -> str | None:
    """Return what some record calls a version if the table can be asked for it, else None."""
    return text if release(text) >= release(oldest()) else None


def check_version(version: str) -> str:
    """Return a version of the table; raise BadValue for one that is none, or is older."""
    if known_version(version) is None:
        raise BadValue("engine version", version, f"a release of vLLM from {oldest()} on")
    return version


def beyond_read(version: str | None) -> bool:
    """Whether a version is newer than those whose rules were read."""
    return version is not None and release(version)[:2] > release(NEWEST_READ)[:2]


def engine_defaults(
    gpu: Gpu, layout: Layout | None = None, version: str | None = None
) -> EngineDefaults:
    """Return the defaults on a GPU, of the newest version known unless one is named."""
    numbers = release(check_version(version)) if version else release(rules()[0].since)
    rule = next(each for each in rules() if each.fits(gpu, numbers))
    workers = layout.tp * layout.pp if layout and rule.per_worker else 1
    tokens = rule.max_num_batched_tokens * workers
    if layout and _batched_exchange(layout) and (not version or numbers >= release(BATCHED_SINCE)):
        tokens = BATCHED_TOKENS
    return EngineDefaults(tokens, rule.max_num_seqs * workers, rule.graph_tokens, rule.source)


def schedules_ahead(
    gpu: Gpu, layout: Layout, version: str | None = None, *, asked: bool | None = None
) -> bool:
    """Whether the engine's host works on a step while the GPU computes the one before.

    `asked` is what its server was told, None what the version does by default.
    """
    if layout.pp > 1 or gpu.name.startswith(NEVER_AHEAD):
        return False
    if asked is not None:
        return asked
    return not version or release(check_version(version)) >= release(AHEAD_SINCE)


def _batched_exchange(layout: Layout) -> bool:
    asked = dict(layout.knobs).get("all2all")
    return layout.ep and layout.dp > 1 and asked in BATCHED_EXCHANGE
