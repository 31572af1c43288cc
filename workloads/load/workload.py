"""A workload: what a run's requests are drawn from, and the text that names it.

Its parts are described here and drawn in `draw.py`; `language.py` reads the text. Two workloads of
equal `name` send the same traffic from the same seed: a file stands in it with its name and a hash
of what it holds, never with the folder it lies in.
"""

import math
from pathlib import Path

import msgspec

from workloads.load.distribution import Distribution

WAVES = 5
FEWEST = 64


class Lengths(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts of random token ids: of `input` tokens each, answered with `output` tokens."""

    input: Distribution
    output: Distribution


class LengthsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As `Lengths`, with pairs of lengths drawn from a file's histogram."""

    path: Path
    digest: str


class TraceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recorded arrivals: times, lengths and, where the trace has them, hashes of shared blocks."""

    path: Path
    digest: str
    speed: float = 1.0
    """Times as fast as it was recorded."""
    scale: float = 1.0
    """Of every length."""
    from_s: float = 0.0
    to_s: float | None = None
    """Cut to what arrived from `from_s` on and before `to_s`, in seconds of the recording."""
    unit: str | None = None
    """Of its numbers of time, `s` or `ms`; None is what its format says."""
    block_tokens: int | None = None
    """Tokens that a hash stands for; None is what its format says."""


class PromptFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts as a file has them: token ids, texts or chats."""

    path: Path
    digest: str
    output_len: int | None = None
    """Of every request, instead of what the file says."""
    tokenizer: str | None = None
    """Folder of the tokenizer; None leaves text to be tokenised by the server."""
    cut: Distribution | None = None
    """Tokens of each piece that a plain text is cut into; None for a file of requests."""
    turns: int | None = None
    """Divide each conversation into its turns, so many at most; None asks it as one request."""


Source = Lengths | LengthsFile | TraceFile | PromptFile


class Prefix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`count` different prefixes of `tokens` tokens, one before each prompt, in equal shares."""

    tokens: int
    count: int


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class of a workload's requests; a workload without a mix has one, of label ""."""

    source: Source
    label: str = ""
    weight: float = 1.0
    natural: bool = False
    """Answers end where the model ends them, after at most the output length."""
    prefix: Prefix | None = None
    turns: int = 1
    """Of one conversation; each turn's prompt holds the earlier turns and answers."""
    think_s: Distribution | None = None

    @property
    def drawn(self) -> bool:
        """Whether its lengths are drawn, not taken one after another."""
        return isinstance(self.source, Lengths | LengthsFile)

    @property
    def shares(self) -> bool:
        """Whether its prompts begin alike: by a prefix, earlier turns, a trace's hashes."""
        return self.prefix is not None or self.turns > 1 or not self.drawn


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is sent. Without `parts`: prompts of `input_len` random tokens, no two alike, each
    answered with exactly `output_len` tokens."""

    name: str
    """The canonical text."""
    input_len: int
    """Tokens of a prompt; the mean, rounded, where they differ. 0 where prompts are text that
    nobody has tokenised yet: `known_input_len` is None then."""
    output_len: int
    """Tokens of an answer; the mean, rounded. Where answers end naturally: the most."""
    num_prompts: int | None
    """None sizes each run by its concurrency, see `prompts_for`."""
    parts: tuple[Part, ...] = ()
    longest: int = 0
    """Tokens of the longest prompt and answer together; 0 with `parts` is not known."""
    available: int | None = None
    """Requests that a file or trace has; None where as many as are wanted can be drawn."""

    longest_at: str = ""
    """Line and field of the longest prompt of a file."""
    rate_per_s: float | None = None
    """At which a trace was recorded; None of anything else."""

    @property
    def known_input_len(self) -> int | None:
        return self.input_len or None

    @property
    def natural(self) -> bool:
        """Whether some answers end where the model ends them."""
        return any(part.natural for part in self.parts)

    @property
    def has_prompts(self) -> bool:
        """Whether some prompts are a file's own."""
        return any(isinstance(part.source, PromptFile) for part in self.parts)

    @property
    def exchangeable(self) -> bool:
        """Whether any order of its requests is as good as another.

        Those of files and traces have an order of their own, and later turns are longer: there a
        trend over the run may be the workload's.
        """
        return all(part.turns == 1 and part.drawn for part in self.parts)

    @property
    def shares(self) -> bool:
        """Whether prompts begin alike, so that a prefix cache is part of what is measured."""
        return any(part.shares for part in self.parts)

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest sequence; 0 where that is not known."""
        return self.longest if self.parts else self.input_len + self.output_len

    @property
    def stored(self) -> "StoredWorkload":
        """What makes it this workload, in ids and files."""
        fields = {name: getattr(self, name) for name in StoredWorkload.__struct_fields__}
        if self.has_prompts:  # their lengths need a tokenizer, which is not everywhere at hand
            fields |= {"input_len": 0, "output_len": 0}
        return StoredWorkload(**fields)

    def prompts_for(self, max_concurrency: int | None) -> int:
        """Return how many requests a run sends.

        `auto` sends five waves of the concurrency: the first ramps up, the last drains, and the
        requested concurrency is held for the three to four between them. Of a file or a trace all
        that it has, once; of a mix enough for a request of each class.
        """
        if self.num_prompts is not None:
            return self.num_prompts
        return self.available or max(FEWEST, WAVES * (max_concurrency or 0), self.fewest_of_each)

    @property
    def fewest_of_each(self) -> int:
        """Return how many requests have one of each class for certain."""
        weights = [part.weight for part in self.parts] or [1.0]
        return math.ceil(round(sum(weights) / min(weights), 6))


class StoredWorkload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A workload as ids hold it: its name says everything else."""

    name: str
    input_len: int
    output_len: int
    num_prompts: int | None
