"""A server's own arguments, where the plan must know what one of them says."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from catalog.errors import BadValue


class _Parser(argparse.ArgumentParser):
    example = ""

    def error(self, message: str) -> NoReturn:
        raise BadValue("--server-arg", message, self.example)


def last_values(
    args: Sequence[str], *spellings: tuple[str, ...], example: str
) -> tuple[str | None, ...]:
    """Return what the server will take for each argument: the last value given, None without one.

    BadValue, with the example, where an argument stands without a value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.example = example
    for names in spellings:
        parser.add_argument(*names, dest=names[0])
    known = vars(parser.parse_known_args(list(args))[0])
    return tuple(known[names[0]] for names in spellings)
