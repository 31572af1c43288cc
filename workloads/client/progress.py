"""How far a run is, as its listeners hear it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; reads are about one a token."""

    sent: int
    ended: int
    in_flight: int
    reads: int
