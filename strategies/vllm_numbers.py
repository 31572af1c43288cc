"""Numbers as vLLM's command line writes them; ValueError for anything else."""

import re

_SUFFIXED = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?([kKmMgGtT])")
_POWERS = "kmgt"
LARGEST = 2**53


def count(text: str, *, most: int = LARGEST) -> int:
    """Read a whole number from 1 to `most`."""
    number = int(text)
    if not 1 <= number <= most:
        raise ValueError(text)
    return number


def tokens(text: str) -> int:
    """Read a count with vLLM's suffixes: k, m, g, t are decimal (25.6k), K, M, G, T binary (8K)."""
    match = _SUFFIXED.fullmatch(text.strip())
    if match is None:
        return count(text)
    whole, part, suffix = match.groups()
    power = _POWERS.index(suffix.lower()) + 1
    if suffix.isupper():
        if part is not None:  # as vLLM: a part of a binary unit is most likely a slip
            raise ValueError(text)
        return count(str(int(whole) * 1024**power))
    return count(str(int(float(f"{whole}.{part or 0}") * 1000**power)))


def tokens_or_auto(text: str) -> int | None:
    """Read a count of tokens, or None for `auto` and -1: as many as memory and model allow."""
    return None if text.strip().lower() in ("auto", "-1") else tokens(text)


def fraction(text: str) -> float:
    """Read a share over 0, up to 1."""
    share = float(text)
    if not 0 < share <= 1:
        raise ValueError(text)
    return share
