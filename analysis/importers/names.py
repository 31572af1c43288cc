"""What the names of files and folders say: GPU, layout, load, lengths. Proposals, not facts."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from analysis.importers.leftovers import VOLATILE, Scalar, column_name
from catalog.hardware_table import ALIASES, GPUS
from strategies import Layout

_SPLIT = re.compile(r"[\s_,;()\[\]]+|-(?![0-9.]*$)|\.(?=[A-Za-z])|--")
_PAIR = re.compile(
    r"(?P<key>[A-Za-z][A-Za-z0-9_-]{0,40})=(?P<value>[^,;/]{1,100}?)"
    r"(?=-[A-Za-z][\w-]{0,40}=|--|-BENCH|$)"
)
_COUNT = r"[-_=]?(\d+)"
_WORDS = (
    (
        "max_concurrency",
        re.compile(rf"(?:max[-_]?)?(?:concurrency|conc|con|cc|mc|users|streams){_COUNT}"),
    ),
    ("request_rate", re.compile(r"(?:request[-_]?rate|rate|qps|rps)[-_=]?(\d+(?:\.\d+)?)")),
    ("input_len", re.compile(rf"(?:isl|input[-_]?len|in|input){_COUNT}(k?)")),
    ("output_len", re.compile(rf"(?:osl|output[-_]?len|out|output){_COUNT}(k?)")),
)
_BOTH_LENGTHS = re.compile(r"(\d{1,6})k(\d{1,6})k")
_DEGREE = re.compile(r"(tp|pp|dp|ep)[-_=]?(\d{1,6})")
_DEGREES = re.compile(r"(?:(?:tp|pp|dp|ep)\d{1,6})+(?:ep)?")
_GPUS = re.compile(r"(?:(\d{1,6})x)?(?P<name>.+?)(?:x(\d{1,6}))?")
PRECISIONS = frozenset((
    "fp8", "fp16", "bf16", "fp4", "nvfp4", "mxfp4", "mxfp8", "int8", "int4", "w8a8", "w4a16",
    "awq", "gptq", "gguf", "fp32",
))  # fmt: skip
OTHER_GPUS = (
    "L4", "L40", "L40S", "A10", "A10G", "A40", "T4", "V100", "P100", "H20", "H800", "A800",
    "GH200", "GB200", "GB300", "B300", "MI210", "MI250", "MI250X", "MI300A", "MI308X", "MI325X",
    "MI350X", "MI355X", "Gaudi2", "Gaudi3", "RTX4090", "RTX5090", "RTX6000", "TPUv5e", "TPUv6e",
)  # fmt: skip


def _gpu_names() -> dict[str, str]:
    known = {name.lower(): name for name in (*OTHER_GPUS, "A100", *(g for g in GPUS if g != "CPU"))}
    return known | {alias.lower().replace(" ", ""): name for alias, name in ALIASES.items()}


GPU_NAMES = _gpu_names()


def proposals(source: PurePath) -> dict[str, Scalar]:
    """Columns that the last folders and the name of a file tell of; the file's own name wins."""
    found: dict[str, Scalar] = {}
    for part in (*source.parts[-3:-1], source.stem):
        found |= _of_part(part)
    return found


def _of_part(part: str) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    degrees: dict[str, int] = {}
    for key, value in _pairs(part):
        if not _take(f"{key}={value}".lower(), found, degrees) and key.lower() not in VOLATILE:
            found.setdefault(column_name(key), _number_or_text(value))
    words = list(_words(_PAIR.sub(" ", part)))
    for index, word in enumerate(words):
        if not _take(word, found, degrees) and index + 1 < len(words):
            _take(f"{word}_{words[index + 1]}", found, degrees)
    if degrees and (layout := _layout(degrees)):
        found["strategy"] = layout
    return found


def _pairs(part: str) -> Iterator[tuple[str, str]]:
    for match in _PAIR.finditer(part):
        yield match["key"].removeprefix("SERVE-").removeprefix("BENCH-").strip("-"), match["value"]


def _number_or_text(value: str) -> Scalar:
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() and abs(number) < 1e15 else value


def _words(text: str) -> Iterator[str]:
    for word in _SPLIT.split(text):
        if word := word.strip(".-").lower():
            yield word


def _take(word: str, found: dict[str, Scalar], degrees: dict[str, int]) -> bool:
    """Read one word into the columns it tells of; False where it tells nothing."""
    if gpu := _gpu(word):
        found |= gpu
    elif word in PRECISIONS:
        found["precision"] = word
    elif _DEGREES.fullmatch(word) or _DEGREE.fullmatch(word) or word == "ep":
        degrees.update({axis: int(n) for axis, n in _DEGREE.findall(word)})
        if word.endswith("ep"):
            degrees.setdefault("ep", 0)
    elif match := _BOTH_LENGTHS.fullmatch(word):
        found |= {"input_len": int(match[1]) * 1024, "output_len": int(match[2]) * 1024}
    else:
        return _number(word, found)
    return True


def _gpu(word: str) -> dict[str, Scalar]:
    match = _GPUS.fullmatch(word)
    name = GPU_NAMES.get(match["name"]) if match else None
    if match is None or name is None:
        return {}
    count = match[1] or match[3]
    return {"gpu_type": name} | ({"num_gpus": int(count)} if count else {})


def _number(word: str, found: dict[str, Scalar]) -> bool:
    for name, pattern in _WORDS:
        if match := pattern.fullmatch(word):
            value = float(match[1])
            if value <= 0 or value > 1e9:
                return False
            kilo = 1024 if pattern.groups > 1 and match[2] else 1
            found[name] = value if name == "request_rate" else int(value) * kilo
            return True
    return False


def _layout(degrees: Mapping[str, int]) -> str:
    """`tp4ep4` is expert parallelism over the four tp ranks; `ep8` alone over eight dp ranks."""
    ep = "ep" in degrees and degrees["ep"] != 1
    tp, pp, dp = (degrees.get(axis) for axis in ("tp", "pp", "dp"))
    if tp is None and dp is None and ep:
        dp = degrees["ep"] or None
    if tp is None and dp is None and pp is None:
        return ""
    try:
        return Layout(tp=tp or 1, pp=pp or 1, dp=dp or 1, ep=ep).name
    except (ValueError, TypeError):
        return ""
