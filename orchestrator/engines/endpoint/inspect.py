"""A server that already runs: who it says it is, and the name it is asked for."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec

from catalog.errors import BadValue, EndpointError, UnknownName, shown
from catalog.secrets import redact
from orchestrator.engines.endpoint.access import control_of, target_of
from orchestrator.engines.endpoint.advice import BY_STATUS, KEY_WORDS
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.control import LISTS_NONE, SIDE_LIMIT_S, Control
from workloads.transport.target import Target

LONGEST_NAME = 1024
MOST_KEPT = 100
"""Names of a list that are kept with the results."""
POLL_S = 1.0
LOADING = frozenset({502, 503, 504})
REDIRECTS = range(300, 400)
PATIENCE_S = 60.0
"""How long a server that says it is not ready is waited for when nobody has said how long."""
ABSENT = frozenset({0, 200, 404, 405, 501})
"""Answers, or none, of servers that do not list their models; 200 is of an odd list or none."""
UNAUTHORISED, FORBIDDEN = 401, 403
"""Some gateways let a key complete and not list."""
UNLISTED_WORDS = "--served-model-name NAME asks a server without its list"
KEY_OR_NAME = f"{KEY_WORDS}; for a key that may complete and not list, {UNLISTED_WORDS}"
WAYS_OUT = {**BY_STATUS, UNAUTHORISED: KEY_OR_NAME, FORBIDDEN: KEY_OR_NAME}


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers at an address; kept with every run, and compared between them."""

    asked: str
    """The name in each request."""
    listed: tuple[str, ...] | None = None
    """What `/v1/models` lists; None where it does not."""
    answered_by: str = ""
    """The name that its answers give."""
    version: str = ""
    max_model_len: int | None = None
    addresses: tuple[str, ...] = ()
    """What its host name resolves to."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is there: its identity, what `/v1/models` said of it, and what to tell."""

    identity: Identity
    entry: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    """Each `CODE: what a reader should know`."""


async def inspect(experiment: Experiment, tell: Callable[[str], None] = lambda _: None) -> Answered:
    """Ask a running server who it is, before anything else is done; wait while it is loading.

    Raises EndpointError where it does not answer as it should, InputError for a name that it does
    not have.
    """
    if len(experiment.models) > 1:
        raise BadValue("--model", ", ".join(experiment.models), "one: the server serves one")
    target = target_of(experiment, "")
    async with control_of(target) as control:
        entries, trouble = await _entries(experiment, control, tell)
        names = dict.fromkeys(_name(control, each) for each in entries or ())
        listed = None if entries is None else tuple(names)
        asked, notes = choose(experiment, listed, trouble)
        entry = next((each for each in entries or () if each.get("id") == asked), {})
        longest = entry.get("max_model_len")
        identity = Identity(
            asked=asked,
            listed=None if listed is None else listed[:MOST_KEPT],
            version=await control.version(limit_s=SIDE_LIMIT_S) or "",
            max_model_len=longest if type(longest) is int else None,
            addresses=await _addresses(target),
        )
    if len(identity.addresses) > 1:
        notes += (f"SEVERAL_ADDRESSES: {', '.join(identity.addresses)}; connections take turns",)
    return Answered(identity=identity, entry=entry, notes=notes)


async def _entries(
    experiment: Experiment, control: Control, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]] | None, str]:
    """Return what the server lists, or None and why it lists nothing."""
    limit_s, asked_for = patience_s(experiment)
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return await control.models(), ""
        except EndpointError as error:
            late = error.absent or LISTS_NONE in str(error)
            loading = error.status in LOADING or (late and asked_for)
            if loading and time.monotonic() < deadline:
                tell(f"waiting, at most {limit_s:.0f} s: {error}")
                await asyncio.sleep(POLL_S)
                continue
            return None, _unlisted(experiment, error)


def _unlisted(experiment: Experiment, error: EndpointError) -> str:
    """Return why nothing is listed, where the server may be measured all the same; else raise."""
    answered = error.status and error.status not in LOADING
    if answered and experiment.endpoint_options.served_name is not None:
        return str(error)
    if error.status in ABSENT and not error.absent and _may_be_blind(error):
        return str(error)
    if not answered or error.status in REDIRECTS:
        raise error
    way_out = WAYS_OUT.get(error.status, UNLISTED_WORDS)
    raise EndpointError(f"{error}; {way_out}", status=error.status)


def patience_s(experiment: Experiment) -> tuple[float, bool]:
    """Return how long a server that is not ready is waited for, and whether that was asked for."""
    asked_s = experiment.server.start_timeout_s
    asked_for = asked_s != ServerOptions().start_timeout_s
    return (asked_s, True) if asked_for else (PATIENCE_S, False)


def _may_be_blind(error: EndpointError) -> bool:
    """Tell a gateway that does not list, or is slow to, from what is no such server at all."""
    return error.status != 0 or "no answer within" in str(error)


def choose(
    experiment: Experiment, listed: tuple[str, ...] | None, trouble: str
) -> tuple[str, tuple[str, ...]]:
    """Return the name to ask for, and what is to be told of it.

    The one that was named, if the server has it under this name or the end of it; the only one it
    has, with a note where that is another; never one of several that nobody has named.
    """
    given = experiment.endpoint_options.served_name
    named = experiment.models[0] if experiment.models else None
    if given is not None:
        absent = listed is not None and given not in listed
        note = f"UNLISTED: {shown(given)} is not among what the server lists: {_few(listed or ())}"
        return given, (note,) if absent else ()
    if listed is None:
        if named is None:
            raise EndpointError(f"{trouble}; name its model with --model or --served-model-name")
        return named, (f"UNLISTED: the server does not list its models ({trouble})",)
    alike = [name for name in listed if named and _is_alike(named, name)]
    if named in listed or len(alike) == 1:
        return (named if named in listed else alike[0]), ()
    if len(listed) > 1:
        hint = f"--served-model-name says which of {_few(listed)} is asked for."
        raise UnknownName("model of this server", named or "", listed, hint=hint)
    if named is None:
        return listed[0], ()
    return listed[0], (
        f"ANOTHER_NAME: the rows say {named}, the server serves {listed[0]} and nothing else",
    )


def _is_alike(named: str, listed: str) -> bool:
    """Tell whether two names are one: `org/Model` and `model`, a path and its last part, and a
    name without and with Ollama's usual tag.
    """
    return _short(named) == _short(listed)


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().removesuffix(":latest")


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def _name(control: Control, entry: dict[str, Any]) -> str:
    """Return the name in an entry: each request repeats it, and each table shows it."""
    name = entry.get("id")
    short = isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME
    if isinstance(name, str) and short and redact(name) == name:  # no key that comes back
        return name
    raise EndpointError(
        f"{control.url('/v1/models')}: {redact(shown(name))} is no name of a model: printable text "
        f"of at most {LONGEST_NAME} characters"
    )


async def _addresses(target: Target) -> tuple[str, ...]:
    """Resolve the host name; one server that has an address of each family counts once."""
    if target.unix_path is not None:
        return ()
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(*target.address, type=socket.SOCK_STREAM)
    by_family: dict[int, dict[str, None]] = {}
    for family, _, _, _, place in found:
        by_family.setdefault(family, {})[str(place[0])] = None
    return max((tuple(each) for each in by_family.values()), key=len, default=())
