"""How a server that already runs is asked: its API, prompts, further fields, headers, limits."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from catalog.bounded import RealRange
from catalog.errors import BadValue, InputError, UnknownName
from catalog.named_file import LARGEST_SECRET_BYTES, text_named
from catalog.secret_names import is_secret_name
from catalog.secrets import hide, is_secret_pair, secrets_in
from workloads.transport.target import FIXED, LENGTHS, NEEDED

APIS = ("completions", "chat")
PROMPTS = ("ids", "text")
NO_METRICS = "none"
LONGEST_WAIT = RealRange(1e-3, 30 * 86_400.0)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
FRAMING = frozenset(
    {"content-length", "transfer-encoding", "content-type", "accept", "accept-encoding", "te",
     "connection", "upgrade", "expect", "trailer"}
)  # fmt: skip
"""Headers that the client sets itself: others would change what it reads."""
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


class EndpointOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server that already runs is sent, and how it is reached."""

    api: str = "completions"
    """`completions`, or `chat`."""
    prompt: str | None = None
    """`ids` of exact length, or `text` of about it; by default ids where the API takes them."""
    served_name: str | None = None
    """The name to ask for, where it is not the model's."""
    extra_body: dict[str, Any] = {}
    """Further fields of each request."""
    omit_fields: tuple[str, ...] = ()
    """Fields that are not sent."""
    headers: dict[str, str] = {}
    """Further headers; a secret one's value names a `$VARIABLE` or an `@FILE`, and is in neither
    record nor message."""
    ca_file: str | None = None
    insecure: bool = False
    """Take any certificate."""
    metrics_url: str | None = None
    """Where its counters are, or `none`; by default at /metrics beside its API."""
    stall_timeout_s: float | None = None
    """The longest silence of a request; by default what the server itself needs for a token."""
    request_timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.api not in APIS:
            raise UnknownName("--api", self.api, APIS)
        if self.prompt not in (None, *PROMPTS):
            raise UnknownName("--prompt", self.prompt or "", PROMPTS)
        if self.api == "chat" and self.prompt == "ids":
            raise BadValue("--prompt", "ids", "text with --api chat, which takes no token ids")
        for name in ("stall_timeout_s", "request_timeout_s"):
            if getattr(self, name) is not None:
                LONGEST_WAIT.require(getattr(self, name), f"--{name[:-2].replace('_', '-')}")
        self._check_fields()
        for name, value in self.headers.items():
            check_header(name, value)

    def _check_fields(self) -> None:
        for name in self.extra_body:
            if name in FIXED:
                raise BadValue(
                    "--extra-body", name, "fields that a measurement does not set itself"
                )
        found = next(_secrets(self.extra_body), "")
        if found:
            raise InputError(f"--extra-body: {found} would be written into every record")
        for name in self.omit_fields:
            if name in NEEDED:
                raise BadValue("--omit-field", name, f"any but {', '.join(sorted(NEEDED))}")
        lengths = LENGTHS if self.api == "chat" else LENGTHS[:1]
        if set(lengths) <= set(self.omit_fields):
            raise BadValue("--omit-field", ", ".join(lengths), "one of them must be sent")

    @property
    def texts(self) -> bool:
        """Whether prompts are text: of about the length asked for, as the server counts."""
        return self.api == "chat" or self.prompt == "text"

    @property
    def form(self) -> str:
        """What makes its requests others than usual, in words; part of a row's condition."""
        words = ["chat"] if self.api == "chat" else ["text prompts"] if self.texts else []
        if self.extra_body:
            added = msgspec.json.encode(self.extra_body, order="deterministic").decode()
            words.append(f"with {added}")
        if self.omit_fields:
            words.append(f"without {' '.join(sorted(set(self.omit_fields)))}")
        return ", ".join(words)

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the flags that are not at their defaults."""
        flags = {"served_name": "served-model-name", "extra_body": "extra-body",
                 "omit_fields": "omit-field", "headers": "header", "ca_file": "ca-file",
                 "metrics_url": "metrics-url", "stall_timeout_s": "stall-timeout",
                 "request_timeout_s": "request-timeout"}  # fmt: skip
        names = EndpointOptions.__struct_fields__
        changed = [n for n in names if getattr(self, n) != getattr(EndpointOptions(), n)]
        return tuple(f"--{flags.get(name, name)}" for name in changed)

    @property
    def studied(self) -> tuple[object, ...]:
        """What may not change on resume: not how the server is reached, but what it is asked."""
        return self.form, self.served_name

    def header_values(self) -> dict[str, str]:
        """Return the headers as they are sent; what came from outside is masked from now on."""
        return {name: _value(name, value) for name, value in self.headers.items()}


def is_secret_header(name: str, value: str) -> bool:
    secret = name.lower() in SECRET_HEADERS or is_secret_name(name)
    return secret or is_secret_pair(name, value)


def check_header(name: str, value: str) -> None:
    """Refuse what is no header, and a secret that stands in the experiment itself."""
    if not _HEADER.fullmatch(name) or name.lower() in FRAMING:
        allowed = "NAME=VALUE with the name of a header that the client does not set itself"
        raise BadValue("--header", name, allowed)
    if not value.isprintable() or not _is_latin(value):
        raise BadValue("--header", f"a value of {name}", "one line of printable latin-1 text")
    if is_secret_header(name, value) and not (value.startswith("@") or _VARIABLE.search(value)):
        raise InputError(
            f"--header {name}: its value would be written into every record; name a variable that "
            f"holds it ({name}='$VARIABLE'), or a file ({name}=@FILE)"
        )


def kept_in_environment(name: str, value: str) -> str:
    """Put a secret header's value into a variable of this process; return what names it."""
    variable = "MOESERVE_HEADER_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    os.environ[variable] = value
    hide(value)
    return f"${{{variable}}}"


def _value(name: str, value: str) -> str:
    if value.startswith("@"):
        text = text_named(Path(value[1:]), most_bytes=LARGEST_SECRET_BYTES).strip()
    else:
        text = _VARIABLE.sub(lambda found: _variable(name, found[1] or found[2]), value)
    if text != value:
        for secret in (text, *text.split(" ")[1:]):
            hide(secret)
    if not text.isprintable() or not _is_latin(text):
        raise BadValue("--header", f"a value of {name}", "one line of printable latin-1 text")
    return text


def _variable(header: str, name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise BadValue(f"--header {header}", f"${name}", "a variable that is set") from None


def _is_latin(text: str) -> bool:
    return all(ord(letter) < 256 for letter in text)


def _secrets(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _secrets(each, str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each, name)
    elif isinstance(value, str) and (is_secret_pair(name, value) or next(secrets_in(value), "")):
        yield name or "a secret"
