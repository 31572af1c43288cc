"""A server's log as lines: what each says, whether it only informs, and how far the start was.

Logs come coloured, wrapped by a terminal, with a prefix for each process, with timestamps of a
container's runtime, or with several starts one after another: what is read here is the last start.
"""

import re
from dataclasses import dataclass
from itertools import chain

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "\r": "\n"})
# The escape itself may have become a blank on its way into the log.
_COLOUR = re.compile(r"[\x1b ]?\[\d{1,2}(?:;\d{1,2}){0,4}m")
_LEVEL = re.compile(r"(?<![\w=.'\"-])(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)(?![\w=])")
_SAYS_MORE = re.compile(r"rror|xception|ailed")
"""Before a level's name: the name is part of a message."""
_QUIET = re.compile(
    r"\W{0,2}[WIV]\d{3,4} \d\d:|(?:\d{1,4}\.){2,3}\d{1,3} [IWD] |.{0,60}\b[Ww]arning: "
    r"|\[\d{4}-\d\d-\d\d [\d:.,]{1,20} [IWD] "
    r"|.{0,200}\b(?:User|Future|Runtime|Deprecation|Resource)Warning\b"
)
_SOURCE = re.compile(r"\[?[\w./-]{1,80}\.py:\d{1,6}\]\s?")
_PREFIX = re.compile(
    r"\s{0,40}(?:\((?:[^()\n]{1,60}[ =])?pid=\d{1,9}[^()\n]{0,60}\)"
    r"|\[rank\d{1,5}\]:|\d{4}-\d\d-\d\d[T ][\d:.,]{1,20}(?:Z|[+-]\d\d:\d\d)?"
    r"(?: std(?:out|err) [FP])?(?= )"
    r"|\[\d{4}-\d\d-\d\d[T ][\d:.,]{1,20}+(?! [IWD] )[^\]\n]{0,40}\](?= )"
    r"|\[(?:Info|Warning|Error)\](?: \(\w{1,20}\))?(?= )"
    r"|(?:\d{1,4}\.){2,3}\d{1,3} E(?= )"
    r"|[A-Z][a-z]{2} {1,2}\d{1,2} [\d:]{8} \S{1,60} \S{1,60}:(?= )|[\w.-]{1,60} {1,9}\|(?= ))\s?"
)
_BANNER = re.compile(
    r"vLLM API server version|[\]█] {1,9}version \d{1,3}\.\d|\bbuild(?:_info)?: b?\d{1,6}[ -]"
    r"|common_params_print_info: verbosity"
)
_OVER = re.compile(
    r"startup complete|initialization failed|Traceback \(most recent call last\)"
    r"|server(?: is|:) listening on|exiting due to|cleaning up before exit"
)
_BEGINS_RECORD = re.compile(
    r"\s{0,40}(?:\d{1,6}: ?)?"  # srun --label
    r"(?:$|[(\[|{]|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|\d{4}-\d\d|Traceback|File \""
    r"|[\w.]{1,80}(?:Error|Exception|Warning)\b|\w{1,40} {1,4}\|)"
)

STAGES = (
    ("starting", r"\A"),
    ("fetching the model", r"Downloading "),
    ("joining ranks", r"is assigned as DP rank"),
    ("loading weights", r"Loading safetensors|Starting to load model|load_tensors: loading"),
    ("allocating the KV cache", r"Loading (?:model )?weights took|Model loading took"
                                r"|llama_(?:new_context_with_model|context): n_ctx"),
    ("compiling", r"vLLM's torch\.compile|Dynamo bytecode transform"),
    ("warming up", r"KV cache size|KV self size"),
    ("capturing graphs", r"Capturing (?:CUDA|cuda) ?graph"),
    ("warming up", r"Graph capturing finished"),
    ("ready", r"Application startup complete|Uvicorn running on|\" 200 OK|ready to roll"
              r"|(?<!router )server(?: is|:) listening on|all slots are idle"),
    ("stopped", r"INFO: {1,9}Shutting down|Application shutdown complete"),
)  # fmt: skip
"""In the order in which vLLM and llama.cpp go through them: a name, and the line that tells."""
READY, STOPPED = 9, 10
LOADED, ALLOCATED, CAPTURING, CAPTURED = 4, 6, 7, 8
_MARKS = tuple(re.compile(pattern) for _, pattern in STAGES)
MOST_LINES, LONGEST_MESSAGE = 8_000, 4_000
"""Of those that may tell of a failure, at the begin; a quarter as many at the end. Characters of
each, half of them at its end."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says without its prefix, and the stage its server had reached."""

    text: str
    stage: int


def clean(log: str) -> str:
    """A log without colours and with plain quotes; only the last start that it tells of."""
    text = _COLOUR.sub("", log.translate(_QUOTES))
    banners = [found.start() for found in _BANNER.finditer(text)]
    for before, begin in zip(banners[-2::-1], banners[:0:-1], strict=False):
        if _OVER.search(text, before, begin):
            return text[text.rfind("\n", 0, begin) + 1 :]
    return text


def unwrapped(text: str) -> str:
    """Join what a terminal has broken: lines that begin like no record belong to the one above."""
    lines = text.split("\n")
    begins = chain([True], map(_BEGINS_RECORD.match, lines[1:]))
    parts = zip(begins, lines, strict=True)
    return "".join(f"\n{line}" if begun else line for begun, line in parts)[1:]


def stage_number(text: str, *, reached: int = 0) -> int:
    """The furthest stage that a text tells of, or that was reached before it."""
    above = range(len(STAGES) - 1, reached, -1)
    return next((number for number in above if _MARKS[number].search(text)), reached)


def stage(log: str) -> str:
    """Name the furthest start-up stage the log has reached."""
    return STAGES[stage_number(log)][0]


def telling_lines(text: str, *, always: re.Pattern[str], never: re.Pattern[str]) -> list[Line]:
    """Lines that may tell why a server failed, each with the stage at its time.

    Left out is what only informs or warns, unless `always` is in it, and what has `never` in it.
    """
    kept: list[Line] = []
    reached = 0
    for line in text.split("\n"):
        reached = stage_number(line, reached=reached)
        level, begin = _level(line)
        if level in ("DEBUG", "INFO", "WARNING") and not always.search(line):
            continue
        message = _message(line, begin)
        if not message.strip() or never.search(line) or (not level and _QUIET.match(message)):
            continue
        if len(message) > LONGEST_MESSAGE:
            message = message[: LONGEST_MESSAGE // 2] + message[-LONGEST_MESSAGE // 2 :]
        if not kept or kept[-1] != Line(message, reached):
            kept.append(Line(message, reached))
    if len(kept) > MOST_LINES * 5 // 4:
        return kept[:MOST_LINES] + kept[-MOST_LINES // 4 :]
    return kept


def _level(line: str) -> tuple[str, int]:
    """The level a line was logged with, and where it ends; empty for what is no log record."""
    found = _LEVEL.search(line, 0, 240)
    if found is None or _SAYS_MORE.search(line, 0, found.start()):
        return "", 0
    return found[1], found.end()


def _message(line: str, begin: int) -> str:
    if begin:
        source = _SOURCE.search(line, begin, begin + 120)
        return line[source.end() if source else begin :].lstrip(" :")
    end = 0
    while found := _PREFIX.match(line, end):
        end = found.end()
    return line[end:]
