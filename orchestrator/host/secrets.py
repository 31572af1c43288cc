"""Secrets are refused where they would be stored: in a server's arguments and variables."""

from collections.abc import Iterable, Mapping

from catalog.errors import InputError
from catalog.secret_names import is_secret_name
from catalog.secrets import is_secret_pair, secrets_in

WAY_OUT = (
    "would be written into every record; export it as a variable (VLLM_API_KEY, HF_TOKEN): the "
    "server inherits the environment"
)


def refuse_secrets(args: Iterable[str], env: Mapping[str, str]) -> None:
    """Refuse secrets in server arguments and variables: both are part of every record."""
    for word in args:
        found = _secret_flag(word) or next(secrets_in(word), "")
        if found:
            raise InputError(f"--server-arg: {found} {WAY_OUT}")
    for name, value in env.items():
        if is_secret_pair(name, value) or next(secrets_in(value), ""):
            raise InputError(f"--server-env: {name} looks like a secret and {WAY_OUT}")


def _secret_flag(word: str) -> str:
    """Return the flag whose value, in this word or the next one, is a secret; "" if it is none."""
    name, has_value, value = word.partition("=")
    if not name.startswith("-") or not is_secret_name(name):
        return ""
    return name if not has_value or is_secret_pair(name, value) else ""
