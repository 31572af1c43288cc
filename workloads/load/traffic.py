"""One run's traffic, drawn whole before it starts: what is asked, of what, when, after what.

A `Traffic` is what every sender replays, over HTTP as in virtual time: rows of equal length, one a
request, in the order in which first turns are handed out.

- `input_lens`, `output_lens`: tokens of the prompt and of the answer asked for. `natural` requests
  end where the model ends them; `output_lens` is then the most (`max_tokens`).
- `content`: what the prompts share, block by block, with no token written (`content.blocks`), and
  the tokens themselves (`content.prompts`). None where every prompt is its own.
- `part_of`, `parts`: the class of a mix that a request belongs to; `""` where there is no mix.
- `session`, `turn`: turns of one session follow each other: turn t is due `think_s` after the end
  of turn t − 1, however that ended, and its prompt holds the earlier ones. Turns count from 0, a
  session's requests stand one behind the other.
- `due_s`: in an open loop when each first turn is due, in seconds from the start of the run, not
  decreasing; later turns have NaN. None in a closed loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.load.content import UNKNOWN, Content, Prompt, TokenIds
from workloads.load.text_prompts import TextPrompts, prompts_for
from workloads.load.turns import Turns
from workloads.transcript import RequestRow

Whole = NDArray[np.int64]
NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What is sent, whenever that is; the columns are described above."""

    input_lens: Whole
    output_lens: Whole
    natural: NDArray[np.bool_]
    session: Whole
    turn: Whole
    think_s: NDArray[np.float64]
    part_of: Whole
    parts: tuple[str, ...] = ("",)
    content: Content | None = None
    recorded_s: NDArray[np.float64] | None = None
    """When a trace had its requests arrive, from its first on."""

    def __len__(self) -> int:
        return len(self.input_lens)

    @property
    def turns(self) -> Turns | None:
        """Which request follows which; None where none does."""
        if not self.turn.any():
            return None
        following = np.full(len(self), NOBODY)
        later = np.flatnonzero(self.turn[1:] > 0)
        following[later] = later + 1
        return Turns(following.tolist(), self.think_s.tolist())

    def prompts(
        self, rng: np.random.Generator, vocab: int, texts: TextPrompts | None = None
    ) -> TokenIds | Sequence[Prompt]:
        """Write the prompts out: the same from an equal generator.

        As token ids below `vocab`, or as text where that is what is sent.
        """
        if self.content is None:
            length = int(self.input_lens[0]) if len(self) else 1
            return prompts_for(rng, len(self), length, vocab, texts)
        seed = int(rng.integers(2**62))
        return (
            self.content.prompts(seed, vocab) if texts is None else texts.write(self.content, seed)
        )


def alike(count: int, input_len: int, output_len: int) -> Requests:
    """Return `count` requests of one length each, no two with a token in common but by chance."""
    return Requests(
        input_lens=np.full(count, input_len),
        output_lens=np.full(count, output_len),
        natural=np.zeros(count, np.bool_),
        session=np.arange(count),
        turn=np.zeros(count, np.int64),
        think_s=np.zeros(count),
        part_of=np.zeros(count, np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests and when they are due."""

    requests: Requests
    due_s: NDArray[np.float64] | None = None
    max_concurrency: int | None = None
    prompts: TokenIds | Sequence[Prompt] = field(default_factory=tuple)
    """What is sent; empty where nothing is (in virtual time)."""

    def labelled(self, row: RequestRow) -> RequestRow:
        """Return a request's row with what was asked: lengths, class, session and turn."""
        return replace(row, **self.labels(row.request))

    def labels(self, number: int) -> dict[str, Any]:
        """What was asked of a request, by the columns of its row."""
        requests = self.requests
        asked = int(requests.input_lens[number])
        return {
            "input_len": None if asked == UNKNOWN else asked,
            "output_len": int(requests.output_lens[number]),
            "natural": bool(requests.natural[number]),
            "part": requests.parts[requests.part_of[number]],
            "session": int(requests.session[number]),
            "turn": int(requests.turn[number]),
        }

    def __len__(self) -> int:
        return len(self.requests)
