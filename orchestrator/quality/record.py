"""The record of one configuration's quality, and what is measured."""

import hashlib

import msgspec

from catalog.errors import BadValue, UnknownName
from orchestrator.experiment.cells import Setup, StoredSetup
from orchestrator.plan import Plan
from orchestrator.results.record import Provenance
from workloads.quality.scores import MOST_TOP
from workloads.quality.windows import (
    SAMPLE,
    TEXT_TOKENS,
    WINDOW_TOKENS,
    check_windows,
    read_text,
)


class QualitySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text that every configuration scores, and how it is cut into windows."""

    text: str = SAMPLE
    """A file's path, or the text that ships."""
    tokens: int = TEXT_TOKENS
    window: int = WINDOW_TOKENS
    top: int = 8
    """Likeliest tokens kept of each position."""

    def __post_init__(self) -> None:
        if not 1 <= self.top <= MOST_TOP:
            raise BadValue("--top", self.top, f"1 to {MOST_TOP} tokens a position")
        check_windows(window=self.window, limit=self.tokens)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(read_text(self.text).encode()).hexdigest()

    def configuration_id(self, setup: Setup) -> str:
        """First 16 hex digits of the hash of the setup and this spec."""
        identity = (setup.stored, self.sha256, self.tokens, self.window, self.top)
        return hashlib.sha256(msgspec.json.encode(identity, order="deterministic")).hexdigest()[:16]


class QualityRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration's perplexity of a text."""

    configuration_id: str
    setup: StoredSetup
    provenance: Provenance
    gpu_type: str
    text: str
    text_sha256: str
    window: int
    top: int
    predicted_tokens: int
    perplexity: float
    perplexity_low: float | None
    """95 % over windows; None with too few of them."""
    perplexity_high: float | None
    scores_sha256: str
    """Of the Parquet file beside this one."""
    started_at: str
    duration_s: float
    details: dict[str, str | int | float | None] = {}


def reference_setup(plan: Plan, name: str | None, model: str) -> Setup:
    """Return the configuration that others of the model are compared with: the first, or a named.

    A name is STRATEGY, TECHNIQUE or STRATEGY/TECHNIQUE.
    """
    setups = [setup for setup in plan.setups if setup.model == model]
    if name is None:
        return setups[0]
    named = {
        **{setup.technique.name: setup for setup in reversed(setups)},
        **{setup.strategy: setup for setup in reversed(setups)},
        **{f"{setup.strategy}/{setup.technique.name}": setup for setup in setups},
    }
    if name not in named:
        raise UnknownName("reference", name, [text for text in named if text])
    return named[name]
