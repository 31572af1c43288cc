"""The names of modules that a quantisation leaves out or treats on its own, as configs write them.

A plain name stands for the module and all inside it, wherever it hangs; `*` for anything; `re:`
(or, in GPTQ's `dynamic`, `-:`) begins a regular expression. Prefixes by which publishers wrap one
and the same decoder are left out on both sides.
"""

import fnmatch
import re
from collections.abc import Iterable

from catalog.reader.fields import Fields

LONGEST_PATTERN = 300
_WRAPPERS = re.compile(
    r"^(?:(?:model|language_model|text_model|backbone|transformer|decoder|thinker|llm)\.)+"
)
# A repetition inside a repetition can take a regular expression engine forever.
_NESTED_REPEATS = re.compile(r"\([^()]*[*+][^()]*\)[*+{]")


class ModuleNames:
    """A set of names and patterns that a module's names can be compared with."""

    def __init__(self, fields: Fields, key: str, texts: Iterable[object]) -> None:
        self._plain: set[str] = set()
        globs, expressions = [], []
        for text in texts:
            if not isinstance(text, str):
                raise fields.bad(key, f"got {type(text).__name__} in it, allowed: names of modules")
            if text.startswith(("re:", "-:", "+:")):
                expressions.append(_checked(fields, key, text[3 if text[0] == "r" else 2 :]))
            elif "*" in text or "?" in text:
                globs.append(fnmatch.translate(_WRAPPERS.sub("", text)))
            else:
                self._plain.add(_WRAPPERS.sub("", text).strip("."))
        self._plain.discard("")
        parts = [plain.split(".") for plain in self._plain]
        self._firsts = {each[0] for each in parts}
        self._lengths = sorted({len(each) for each in parts})
        self._glob = re.compile("|".join(globs)) if globs else None
        self._expressions = expressions

    def match(self, names: Iterable[str]) -> bool:
        return any(self._matches(name) for name in names)

    def _matches(self, name: str) -> bool:
        if self._plain and self._holds_plain(name.split(".")):
            return True
        if self._glob is not None and self._glob.match(name):
            return True
        full = f"model.{name}"
        return any(each.match(full) or each.match(name) for each in self._expressions)

    def _holds_plain(self, parts: list[str]) -> bool:
        """Whether a contiguous run of a name's parts is one of the plain names."""
        return any(
            ".".join(parts[start : start + length]) in self._plain
            for start, part in enumerate(parts)
            if part in self._firsts
            for length in self._lengths
        )


def _checked(fields: Fields, key: str, pattern: str) -> re.Pattern[str]:
    if len(pattern) > LONGEST_PATTERN or _NESTED_REPEATS.search(pattern):
        raise fields.uncounted(key, "holds a regular expression that is too long or too deep")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise fields.bad(key, f"holds no regular expression: {error}") from error
