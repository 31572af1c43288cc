"""Which data-parallel replica takes a request, as vLLM's front end chooses."""

from collections.abc import Sequence


class Balancer:
    """The replica with the fewest requests in flight; of equal ones the next in turn.

    Where the search begins moves on with every request, or ties would all fall to the first
    replica (`DPLBAsyncMPClient` of vllm/v1/engine/core_client.py, version 0.32).
    """

    def __init__(self) -> None:
        self._start = 0

    def choose(self, in_flight: Sequence[int | None]) -> int:
        """Return the index of a replica; None marks one that takes no requests."""
        count = len(in_flight)
        turn = [(self._start + step) % count for step in range(count)]
        usable = [(each, index) for index in turn if (each := in_flight[index]) is not None]
        self._start = (self._start + 1) % count
        return min(usable, key=lambda pair: pair[0])[1]
