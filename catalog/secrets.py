"""What is a secret, by its name or its shape, and masking it in what is written or shown.

Masking is done where text leaves: in messages, rows, records, logs. It knows the shapes of common
tokens, the values of this process's secret variables, and every key that was handed to `hide`.
"""

import functools
import html
import json
import os
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from catalog.secret_names import is_secret_name

MASK = "***"
SHORTEST = 6
"""A secret shorter than this would mask ordinary words."""

# One start a run of letters (the look-behind) and no way back into it (`*+`): never quadratic.
_START = r"(?<![A-Za-z0-9_-])"
_SHAPES = (
    r"hf_[A-Za-z0-9]{16,}",
    r"sk-(?:(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{16,}|[A-Za-z0-9]{20,})",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"(?:gh[pousr]_|github_pat_|glpat-|gldt-|nvapi-|npm_|gsk_|xai-|r8_|dckr_pat_)[A-Za-z0-9_-]{10,}",
    r"xox[abeoprs]-[A-Za-z0-9-]{8,}",
    r"xapp-[A-Za-z0-9-]{8,}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}",
    r"AIza[A-Za-z0-9_-]{20,}",
    r"ya29\.[A-Za-z0-9_-]{10,}",
    r"pypi-[A-Za-z0-9_-]{20,}",
    r"SG\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?",
)
_SIGNED = r"(?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|Signature|sig)"
VALUES = re.compile(
    rf"{_START}(?:{'|'.join(_SHAPES)})"
    r"|(?i:\b(?:bearer|basic)) [A-Za-z0-9._~+/-]{8,}=*"
    r"|(?<=://)[^/\s@\"'<>]++@"
    rf"|(?<=[?&]){_SIGNED}=[^&\s\"'<>]+"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s]*"
    r"|hooks\.slack\.com/services/[A-Za-z0-9/]+",
)
# A name and its value: NAME=value, --flag=value, header: value, "key": "value", ?key=value.
_PAIR = re.compile(
    r"(?<![A-Za-z0-9_.-])-*+([A-Za-z][A-Za-z0-9_.-]*+)(?:\\?[\"'])?[ \t]*+[=:](?!//)"
    r"[ \t]*+(?:\\?[\"'])?(?=([^\s\"'\\,;&}]{1,200}))"  # looked at only: it may hold another pair
)

# A switch, or a special token of a model such as `<|im_start|>`, whatever it is called.
_NO_SECRET = re.compile(
    r"(?i)0|1|true|false|yes|no|on|off|none|null|auto|default|enabled|disabled|<.*>|\[\d*"
)

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Have a key of this process masked from now on, wherever it comes back from."""
    if len(secret) >= SHORTEST:
        _hidden.add(secret)


def is_secret_pair(name: str, value: str) -> bool:
    """Tell whether a name with this value is a secret, by either; a switch is none."""
    return bool(VALUES.search(value)) or _is_named(name, value)


def _is_named(name: str, value: str) -> bool:
    return bool(value) and not _NO_SECRET.fullmatch(value) and is_secret_name(name)


def secrets_in(text: str) -> Iterator[str]:
    """Yield what of a text looks like a secret: names with a value, and tokens by their shape."""
    for name, value in _PAIR.findall(text):
        if _is_named(name, value):
            yield name
    if VALUES.search(text):
        yield "a secret"


def redact(text: str) -> str:
    """Mask what looks like a secret, and every secret that this process knows."""
    return masker()(text) if text else text


def masker() -> Callable[[str], str]:
    """`redact` for many texts of one moment: this process is asked for its keys once."""
    known = _known()

    def mask(text: str) -> str:
        for secret in known:
            if secret in text:
                text = text.replace(secret, MASK)
        return VALUES.sub(MASK, text)

    return mask


def _known() -> list[str]:
    """All forms of the keys of this process, the longest first: one may hold another."""
    secrets = _own(tuple(os.environ.items())) | _hidden
    return sorted({form for secret in secrets for form in _forms(secret)}, key=len)[::-1]


@functools.lru_cache(maxsize=1)
def _own(variables: tuple[tuple[str, str], ...]) -> frozenset[str]:
    """Return the secrets among the variables of this process; they hardly ever change."""
    long = ((name, value) for name, value in variables if len(value) >= SHORTEST)
    return frozenset(value for name, value in long if is_secret_pair(name, value))


def _forms(secret: str) -> set[str]:
    """How a server may write a key back: as it is, in JSON, in a URL, in HTML."""
    in_json = json.dumps(secret)[1:-1]
    escaped = {in_json, in_json.replace("/", "\\/"), quote(secret, safe=""), quote(secret)}
    return {secret, html.escape(secret), html.escape(secret, quote=False), *escaped}
