"""Options of a technique as a decoder's command line has them."""

from collections.abc import Mapping


def flag_words(given: Mapping[str, object]) -> list[str]:
    """Write each flag and its value; nothing of those that are None."""
    return [
        word for flag, value in given.items() if value is not None for word in (flag, f"{value}")
    ]
