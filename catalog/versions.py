"""Versions of software, compared by the numbers that they begin with."""

import re


def release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: `0.10.1.1+cu129` is (0, 10, 1, 1)."""
    found = re.match(r"\d{1,9}(?:\.\d{1,9}){0,4}", version)
    return tuple(map(int, found[0].split("."))) if found else ()
