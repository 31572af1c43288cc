"""What a run may need of this machine, whether it is here, and the command that brings it."""

import importlib.metadata
import shutil
from dataclasses import dataclass

from catalog.errors import install_line


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a run may need."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def package(name: str, extra: str, purpose: str) -> Requirement:
    """Look for a Python package that an extra of moeserve brings."""
    found = version_of(name)
    fix = "" if found else f"{install_line(extra)} (for {purpose})"
    return Requirement(name, found is not None, found or "none", fix)


def program(name: str, fix: str) -> Requirement:
    """Look for a program on the PATH."""
    path = shutil.which(name)
    return Requirement(name, path is not None, path or "none", "" if path else fix)


def version_of(name: str) -> str | None:
    """Return an installed package's version; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
