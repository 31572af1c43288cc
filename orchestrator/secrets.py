"""Secrets stay out of whatever is written: refused where they would be stored, masked in logs."""

import os
import re
from collections.abc import Iterable, Mapping

from catalog.errors import InputError

WORDS = "token|secret|password|passwd|api_?key|access_?key|credentials?"
NAMES = re.compile(rf"(?i)(?:^|_)(?:{WORDS})(?:_|$)")
VALUES = re.compile(
    r"hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16}"
    r"|(?i:bearer) [A-Za-z0-9._~+/-]{16,}=*|://[^/\s:@]+:[^/\s@]+@"
)
SECRET_FLAGS = ("--api-key", "--hf-token", "--ssl-keyfile-password")
SHORTEST = 6
"""A secret shorter than this would mask ordinary words."""
MASK = "***"


def refuse_secrets(args: Iterable[str], env: Mapping[str, str]) -> None:
    """Refuse secrets in server arguments and variables: both are part of every record."""
    for word in args:
        if word.split("=")[0] in SECRET_FLAGS or VALUES.search(word):
            flag = word.split("=")[0] if word.startswith("--") else "a secret"
            raise InputError(
                f"--server-arg: {flag} would be written into every record; export it as a variable "
                "(VLLM_API_KEY, HF_TOKEN): the server inherits the environment"
            )
    for name, value in env.items():
        if NAMES.search(name) or VALUES.search(value):
            raise InputError(
                f"--server-env: {name} looks like a secret and would be written into every record; "
                "export it instead: the server inherits the environment"
            )


def redact(text: str) -> str:
    """Mask what looks like a secret, and every value of a secret variable of this process."""
    for name, value in os.environ.items():
        if NAMES.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, MASK)
    return VALUES.sub(MASK, text)
