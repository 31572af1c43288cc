"""The error tree.

    MoeserveError
    ├── InputError (exit 2)           what the user gave cannot be used
    │   ├── UnknownName               a name that is not in a catalog or registry
    │   ├── BadValue                  a flag, field or column with a value that is not allowed
    │   ├── BadFile                   a file that cannot be read as what it should be
    │   │   └── NotCounted            a model that can be served, but not counted
    │   ├── ChangedExperiment         another experiment already lives in this directory
    │   └── MissingExtra              an optional dependency is not installed
    ├── Infeasible (exit 4)           nothing of what was asked fits the hardware
    ├── RunFailed (exit 3)            a server, endpoint or cluster did not do its part
    │   ├── ServerError
    │   │   ├── ServerStartFailed
    │   │   ├── ServerStartTimeout
    │   │   └── ServerDied
    │   ├── EndpointError
    │   ├── ClusterError
    │   └── StorageError          the results could not be written (disk full, I/O error)
    └── ResultsError (exit 2)         stored results are damaged or of another schema

Each says in one line what is wrong, where, what was given, what is allowed and, where it helps,
the way out. The command line prints that line and exits with `exit_code`.
"""

import difflib
import shlex
import sys
from collections.abc import Iterable, Sequence

MOST_LISTED = 24
LONGEST_SHOWN = 400
"""Characters of a value that a message repeats."""
LONGEST_MESSAGE = 4_000
"""Characters of a whole message, which may quote what somebody else wrote."""


def install_line(extra: str, package: str = "") -> str:
    """The command that installs an optional part for this very interpreter."""
    wanted = package or f"'moeserve[{extra}]'"
    return f"{shlex.quote(sys.executable or 'python')} -m pip install {wanted}"


class MoeserveError(Exception):
    """Base of every error whose message is meant for the user; `except` this at a border."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}…"


class InputError(MoeserveError):
    """What the user gave cannot be used."""

    exit_code = 2


class BadValue(InputError, ValueError):
    """A value that is not allowed for this flag, field or column."""

    def __init__(self, what: str, given: object, allowed: str, *, where: str = "") -> None:
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{what}: got {shown(given)}, allowed: {allowed}")


class UnknownName(InputError, LookupError):
    """A name that is in no catalog; the message lists close names and then what exists."""

    def __init__(
        self,
        kind: str,
        given: str,
        known: Iterable[str],
        *,
        also: Iterable[str] = (),
        meant: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        """`also` are names of the same that may be meant, and are not listed.

        `meant` are known to be, where whoever asks can tell better than by the letters.
        """
        names = sorted(set(known))
        message = f"unknown {kind} {shown(given)}."
        close = meant or closest(given, [*also, *names])
        if close:
            message += f" Did you mean {' or '.join(close)}?"
        listed = ", ".join(names[:MOST_LISTED]) + (", …" if len(names) > MOST_LISTED else "")
        message += f" Allowed: {listed}."
        super().__init__(message + (f" {hint}" if hint else ""))


class BadFile(InputError, ValueError):
    """A file that cannot be read as what it should be."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class NotCounted(BadFile):
    """A config that is whole, but says something of the model that no count here knows.

    Real servers may serve such a model all the same; what needs its sizes refuses it. `keys` are
    those that were not understood.
    """

    def __init__(self, path: object, keys: tuple[str, ...], problem: str) -> None:
        self.keys, self.problem = keys, problem
        way_out = "so it cannot be estimated; a real server of it can be measured all the same"
        super().__init__(path, f"{', '.join(keys)}: {problem}; {way_out}")


class ChangedExperiment(InputError):
    """Another experiment already lives in this results directory."""


class MissingExtra(InputError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str = "", *, package: str = "") -> None:
        """`package` is one that no extra of moeserve's brings."""
        super().__init__(f"{what} needs an optional part: {install_line(extra, package)}")


class Infeasible(MoeserveError):
    """Nothing of what was asked fits; the message names the number that fails."""

    exit_code = 4


class RunFailed(MoeserveError):
    """A server, endpoint or cluster did not do its part."""

    exit_code = 3


class ServerError(RunFailed):
    """A server that moeserve started failed; `log_tail` holds the last lines it wrote.

    `lasting`: whether another start would fail too, where its log says more than the class does.
    """

    def __init__(
        self, message: str, *, stage: str = "", log_tail: str = "", lasting: bool | None = None
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.log_tail = log_tail
        self.lasting = lasting


class ServerStartFailed(ServerError):
    """The server ended, or was refused, before it was ready."""


class ServerStartTimeout(ServerError):
    """The server was not ready by its deadline."""


class ServerDied(ServerError):
    """The server ended after it had been ready, whatever its exit code."""


class EndpointError(RunFailed):
    """A server that moeserve did not start does not answer as an OpenAI-compatible one.

    `status` is that of its answer, 0 where there was none; `absent` where nobody answered at all.
    """

    def __init__(self, message: str, *, status: int = 0, absent: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.absent = absent


class ClusterError(RunFailed):
    """Ray or Slurm did not do its part."""


class StorageError(RunFailed):
    """The results could not be written; everything published before is intact."""


class ResultsError(MoeserveError):
    """Stored results are damaged or of a schema this version cannot read."""

    exit_code = 2


def shown(given: object) -> str:
    """Return a value as a message may repeat it: in one line, and cut where it is long."""
    try:
        text = repr(given)
    except ValueError:  # Python prints no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def closest(given: str, known: Iterable[str]) -> list[str]:
    """Return up to two known names that the given one is probably a slip of."""
    by_lower = {name.lower(): name for name in known}
    return [
        by_lower[m] for m in difflib.get_close_matches(given[:LONGEST_SHOWN].lower(), by_lower, n=2)
    ]
