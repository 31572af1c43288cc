"""What flags of a server that already runs hold, read into the experiment's fields."""

import json
from typing import Any

from catalog.errors import BadValue
from moeserve.cli.show import note


def extra_body(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadValue("--extra-body", text, """a JSON object, as '{"priority": 3}'""")
    return found


def headers(values: list[str]) -> dict[str, str]:
    """Read `NAME=VALUE` or `NAME: VALUE`.

    A key that stands on the command line itself goes into a variable of this process, so that no
    record holds it.
    """
    from orchestrator.experiment.endpoint_options import is_secret_header, kept_in_environment

    found: dict[str, str] = {}
    for text in values:
        at = min((text.index(mark) for mark in "=:" if mark in text), default=-1)
        name, value = text[:at].strip(), text[at + 1 :].strip()
        if at < 1 or not value:
            raise BadValue("--header", text if at < 0 else name, "NAME=VALUE")
        if is_secret_header(name, value) and not value.startswith("@") and "$" not in value:
            value = kept_in_environment(name, value)
            note(
                f"--header {name}: others on this machine can read it in the list of processes; "
                f"{name}='$VARIABLE' or {name}=@FILE keep it out of there"
            )
        found[name] = value
    return found
