"""Style and script of a page, and the policy that allows these very bytes and nothing else."""

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files


def asset(package: str, name: str) -> str:
    """Return a text file of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def script_of(parts: Iterable[tuple[str, str]]) -> str:
    """Join files, each a package and a name, into one strict script with names of its own."""
    body = "\n".join(asset(package, name) for package, name in parts)
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def policy_of(style: str, script: str, *more: str) -> str:
    """Return a content security policy: this style, this script, and what `more` allows."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            *more,
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
