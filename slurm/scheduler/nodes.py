"""Slurm's lists of nodes: `gpu[01-03,7]-ib,login1`."""

import re
from collections.abc import Iterator

MOST_NODES = 100_000
PART = re.compile(r"(?<![^,])((?:[^,\[\]]|\[[^\[\]]*+\])++)(?:,|$)")
RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def parse_nodes(text: str) -> list[str]:
    """Write a list out, node by node; zeros in front of a number are kept."""
    return [name for match in PART.finditer(text) for name in _expand(match[1])]


def _expand(text: str) -> Iterator[str]:
    before, bracket, rest = text.partition("[")
    if not bracket:
        yield text
        return
    inside, _, after = rest.partition("]")
    for part in inside.split(","):
        match = RANGE.fullmatch(part)
        if match is None:
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first > MOST_NODES:
            continue
        for number in range(first, last + 1):
            for tail in _expand(after):
                yield f"{before}{number:0{len(match[1])}}{tail}"
