"""What the lines of a vLLM log say of its layout and memory, each witness by itself (0.8 to 0.32).

Which version prints what: docs/reliability.md.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from catalog.units import GIB

MOST_ARGUMENTS = 20_000
"""Characters of the line with a server's arguments."""
LONGEST_CONFIGURATION = 20_000
"""Characters of an engine core's line, up to its degrees."""


def _flexible(pattern: str) -> re.Pattern[str]:
    """A pattern whose blanks may be lost or doubled: a terminal breaks lines there."""
    return re.compile(pattern.replace(" ", r"\s{0,4}"))


_ENGINE = _flexible(
    r"Initializing an? (?:(?:V\d )?LLM engine \(v([\w.+-]{1,60})\)|simulated engine)"
)
_DEGREES = _flexible(
    r"(?<![\w'\"])tensor_parallel_size=(\d{1,9}), pipeline_parallel_size=(\d{1,9})"
    r"(?:, data_parallel_size=(\d{1,9}))?"
)
_CONTEXT = _flexible(r"(?<![\w'\"])decode_context_parallel_size=(\d{1,9})")
# The front end tells it plainly, or beside a logo of block characters.
_VERSION = re.compile(r"(?:API server version|[\]█] {1,9}version) {0,3}v?(\d{1,3}\.[\w.+-]{1,60})")
_RANK = _flexible(
    r"rank (\d{1,9}) in world size (\d{1,9}) is assigned as DP rank (\d{1,9}), PP rank (\d{1,9}),"
    r"(?: PCP rank (\d{1,9}),)? TP rank (\d{1,9})"
    r"(?:(?:, ETP rank (?:\d{1,9}|N/A))?, EP rank (\d{1,9}|N/A))?"
)
_EXPERTS = _flexible(r"\[EP Rank (\d{1,9})/(\d{1,9})\] Expert parallelism is enabled")
_WORKER = re.compile(r"\bWorker((?:_(?:DP|PP|PCP|TP|DCP|ETP|EP)\d{1,6}){1,8})")
_ENGINE_CORE = re.compile(r"\bEngineCore_(?:DP)?(\d{1,6})\b")
_DP_OF_WORKER = re.compile(r"\bWorker(?:_[A-Z]{1,4}\d{1,6}){0,3}_DP(\d{1,6})|\bWorker_DP(\d{1,6})")
_KV_TOKENS = _flexible(r"(\w{1,12}) KV cache size: (\d[\d,]{0,18}) tokens")
_WEIGHTS = re.compile(
    r"(?:Model loading|Loading model weights) took {1,3}(\d{1,9}(?:\.\d{1,9})?) {0,3}(GiB|GB)"
)
_ARGUMENTS = re.compile(r"non-default args: {0,3}\{|\bargs: {0,3}Namespace\(")
_GIVEN = re.compile(r"'(\w{1,80})'\s{0,4}:\s{0,4}|(?<!\w)(\w{1,80})=")
_VALUE = re.compile(r"'([^']{0,400})'|([\w.+-]{1,80})")


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank's own line; `expert` is None where not told, -1 for a model without experts."""

    rank: int
    world: int
    data: int
    pipeline: int
    context: int
    tensor: int
    expert: int | None


def version_told(text: str) -> str:
    """The server's version, by its engine or its front end; empty where neither tells."""
    found = _ENGINE.search(text)
    if found is None or not found[1]:
        found = _VERSION.search(text)
    return found[1] if found else ""


def degrees_told(text: str) -> set[tuple[int, int, int | None]]:
    """Tensor, pipeline and (from 0.10.2 on) data parallel size, as engine cores printed them.

    Several where the log is of several servers.
    """
    found = (
        _DEGREES.search(text, begin.end(), begin.end() + LONGEST_CONFIGURATION)
        for begin in _ENGINE.finditer(text)
    )
    return {
        (int(each[1]), int(each[2]), int(each[3]) if each[3] else None) for each in found if each
    }


def decode_context_told(text: str) -> int | None:
    found = _CONTEXT.search(text)
    return int(found[1]) if found else None


def arguments_text(text: str) -> str:
    """The arguments as the server printed them, from bracket to bracket; empty without the line."""
    found = _ARGUMENTS.search(text)
    if found is None:
        return ""
    begin = found.end() - 1
    rest = text[begin : begin + MOST_ARGUMENTS]
    end = next((place for place, depth in enumerate(_depths(rest)) if not depth), None)
    return rest[: end + 1] if end is not None else rest.split("\n", 1)[0]


def _depths(text: str) -> Iterator[int]:
    """How many brackets are open after each character; those in quotes are none."""
    depth, quote, escaped = 0, "", False
    for char in text:
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "{[(") - (char in "}])")
        yield depth


def arguments_told(text: str) -> Mapping[str, str] | None:
    """The plain values among a server's arguments (its own, not of nested settings).

    None where it has not told them. From 0.9 on they are those that are not the default.
    """
    told = arguments_text(text)
    if not told:
        return None
    flat = _without_nested(told[1:-1])
    given = {}
    for found in _GIVEN.finditer(flat):
        value = _VALUE.match(flat, found.end())
        if value:
            given[found[1] or found[2]] = value[1] if value[1] is not None else value[2]
    return given


def _without_nested(text: str) -> str:
    """What stands outside every bracket."""
    return "".join(char for char, depth in zip(text, _depths(text), strict=True) if depth <= 0)


def ranks_told(text: str) -> list[Rank]:
    """Every rank line that is there: Ray folds some, a headless node has its own alone."""
    return [_rank(found) for found in _RANK.finditer(text)]


def _rank(found: re.Match[str]) -> Rank:
    rank, world, data, pipeline, context, tensor = (int(part or 0) for part in found.groups()[:6])
    told = found[7]
    expert = None if told is None else -1 if told == "N/A" else int(told)
    return Rank(rank, world, data, pipeline, context, tensor, expert)


def expert_ranks_told(text: str) -> set[int]:
    """Over how many ranks the experts are spread, by the ranks that say so (from 0.10.2 on)."""
    return {int(size) for _, size in _EXPERTS.findall(text)}


def names_expert_ranks(text: str) -> bool:
    """Whether workers carry an expert rank in their names: exactly with expert parallelism."""
    return any("_EP" in name for name in _WORKER.findall(text))


def engines_told(text: str) -> set[int]:
    """Numbers of the engine cores that wrote lines: one for each data-parallel rank here."""
    return {int(number) for number in _ENGINE_CORE.findall(text)}


def capacities_told(text: str) -> dict[int | None, list[int]]:
    """KV cache sizes in tokens, by the data-parallel rank of who told them (None: not told)."""
    found: dict[str, dict[int | None, list[int]]] = {}
    for engine, device, tokens in _capacities(text):
        found.setdefault(device, {}).setdefault(engine, []).append(tokens)
    # A cache that a GPU server keeps on the host besides is none that requests start with.
    devices = [device for device in found if device != "CPU"] or list(found)
    return found[devices[0]] if devices else {}


def _capacities(text: str) -> Iterator[tuple[int | None, str, int]]:
    for line in text.split("\n"):
        told = _KV_TOKENS.search(line)
        if told is None:
            continue
        prefix = line[: told.start()]
        core = _ENGINE_CORE.search(prefix)
        worker = _DP_OF_WORKER.search(prefix)
        number = core[1] if core else (worker[1] or worker[2]) if worker else None
        yield int(number) if number else None, told[1], int(told[2].replace(",", ""))


def weights_told(text: str) -> list[float]:
    """Bytes of weights of each rank that tells them; from 0.11.2 on only a node's first does."""
    units = {"GiB": GIB, "GB": GIB}  # 0.6 wrote GB and meant 2**30
    return [float(size) * units[unit] for size, unit in _WEIGHTS.findall(text)]
