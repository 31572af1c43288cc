"""How much of a model's experts goes, and by what it is chosen."""

import argparse
from typing import Literal

import msgspec

from catalog.errors import BadValue
from servers.huggingface.flags import flag_words
from strategies import pruning
from strategies.methods import PRUNED_BY
from strategies.technique import Technique

By = Literal["use", "weight", "router"]


class PruneOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of what each layer has; None leaves it whole."""

    experts: float | None = None
    by: By = "use"
    """Tokens that chose an expert, the sum of the router's weights for it, or its row's norm."""
    text: str | None = None
    """A text file to count `use` and `weight` on; None takes Python's help topics."""
    width: float | None = None

    def __post_init__(self) -> None:
        for flag, share in (("--prune-experts", self.experts), ("--prune-width", self.width)):
            if share is not None and not 0 < share < 1:
                raise BadValue(flag, share, "a share over 0 and below 1")
        if self.text is not None and (self.experts is None or self.by == "router"):
            allowed = "none: it is for experts pruned by use or by weight"
            raise BadValue("text to prune by", self.text, allowed)

    @property
    def counted(self) -> bool:
        """Whether a text must be read by the model first."""
        return self.experts is not None and self.by != "router"


def options_of(technique: Technique) -> PruneOptions | None:
    """Translate the parts of a technique that prune; None without one."""
    experts, width = technique.knobs(pruning.EXPERTS), technique.knobs(pruning.WIDTH)
    if experts is None and width is None:
        return None
    by: By = (experts or {}).get("by", "use")  # type: ignore[assignment]  # checked by the table
    return PruneOptions(
        experts=None if experts is None else pruning.share_of(pruning.EXPERTS, experts),
        by=by,
        text=(experts or {}).get("text"),
        width=None if width is None else pruning.share_of(pruning.WIDTH, width),
    )


def arguments_of(options: PruneOptions | None) -> list[str]:
    """Write options as arguments of any decoder that loads a causal model."""
    if options is None:
        return []
    given = {
        "--prune-experts": options.experts,
        "--prune-by": options.by if options.experts is not None else None,
        "--prune-text": options.text,
        "--prune-width": options.width,
    }
    return flag_words(given)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prune-experts", type=float, help="share of each layer's that go")
    parser.add_argument("--prune-by", choices=PRUNED_BY, default="use")
    parser.add_argument("--prune-text", help="file to count use on; Python's help topics")
    parser.add_argument("--prune-width", type=float, help="share of each expert's that goes")


def parsed(args: argparse.Namespace) -> PruneOptions | None:
    """Read them back; None where nothing is to go."""
    options = PruneOptions(
        experts=args.prune_experts,
        by=args.prune_by,
        text=args.prune_text,
        width=args.prune_width,
    )
    return None if options.experts is None and options.width is None else options
