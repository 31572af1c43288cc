"""What a list of visible devices lets through, read as CUDA reads it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
GPU, MIG = "GPU-", "MIG-"


@dataclass(frozen=True, slots=True)
class VisibleList:
    """CUDA_VISIBLE_DEVICES, or its like for HIP: ordinals, or names all of one kind."""

    text: str
    ordinals: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    repeats: bool = False
    """CUDA shows no device at all where one stands twice."""

    @property
    def asks_mig(self) -> bool:
        return bool(self.names) and self.names[0].startswith(MIG)

    def ordinals_of(self, uuids: Sequence[str]) -> tuple[int, ...]:
        """Return which of the devices, told by their UUIDs, are let through, in the list's order.

        The first entry that is none, or that may be several, ends the list.
        """
        found: list[int] = []
        asked: tuple[int | str, ...] = (*self.ordinals, *self.names)
        for wanted in asked:
            ordinal = _ordinal(wanted, uuids)
            if ordinal is None:
                break
            if ordinal in found:
                return ()
            found.append(ordinal)
        return tuple(found)


def parse_visible(text: str) -> VisibleList:
    """Read a list as CUDA does: the first entry that is not of its first one's kind ends it.

    A number counts as far as it goes, `1gpu` is 1; a negative or an empty entry ends the list, and
    a repeated one empties it (torch.cuda._parse_visible_devices holds the same rules).
    """
    entries = [entry.strip() for entry in text.split(",")]
    prefix = next((each for each in (GPU, MIG) if entries[0].startswith(each)), None)
    found: list[int | str] = []
    for entry in entries:
        value = _number(entry) if prefix is None else entry if entry.startswith(prefix) else None
        if value is None:
            break
        if value in found:
            return VisibleList(text, repeats=True)
        found.append(value)
    return VisibleList(
        text,
        ordinals=tuple(each for each in found if isinstance(each, int)),
        names=tuple(each for each in found if isinstance(each, str)),
    )


def _number(entry: str) -> int | None:
    found = _NUMBER.match(entry)
    return None if found is None or int(found[0]) < 0 else int(found[0])


def _ordinal(wanted: int | str, uuids: Sequence[str]) -> int | None:
    if isinstance(wanted, int):
        return wanted if wanted < len(uuids) else None
    matching = [i for i, uuid in enumerate(uuids) if uuid.startswith(wanted)]
    return matching[0] if len(matching) == 1 else None
