"""The command line: known errors as one line with an exit code by kind; commands by name."""

import gc
import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise

import typer

from catalog.errors import BadValue, MoeserveError, StorageError
from catalog.plain_text import LONGEST_NOTE, plain
from catalog.secrets import redact
from moeserve.cli.commands import Commands, ReaderGone
from moeserve.cli.log import show_warnings
from moeserve.cli.pipes import FULL, let_go, open_streams, to_nowhere

commands = Commands(
    name="moeserve",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How should this Mixture-of-Experts model be laid out over my GPUs, and what will it do "
    "under load? Plan it, launch real servers, measure them, decide.",
)

INTERRUPTED = 130
# vLLM's own flags take several values after one name: --goodput ttft:200 tpot:50.
FLAG = re.compile(r"--[a-z][a-z-]*")
SEVERAL_VALUES = {"--goodput": re.compile(r"(?:[^\s=]{1,100}\.)?(ttft|tpot|e2el):.*")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    # Commands make many objects that live to their end, and hardly a cycle: looked for more rarely
    # than by default, these take a tenth less time over all of 189 simulated runs.
    gc.set_threshold(50_000)
    open_streams()
    show_warnings()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            refuse_empty(given)
            commands(args=repeat_flags(given))
        finally:
            let_go(sys.stdout)
    except MoeserveError as error:
        if os.environ.get("MOESERVE_DEBUG") == "1":
            raise
        typer.echo(f"moeserve: {one_line(redact(str(error)))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("moeserve: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except (BrokenPipeError, ReaderGone):
        sys.exit(0)  # nothing is wrong, and nothing more can be said
    except SystemExit as end:
        # Typer and Rich leave with 1, as nothing here does, when the reader of a help page goes.
        sys.exit(0 if end.code == 1 else end.code)
    except OSError as error:
        if error.errno not in FULL:
            raise
        to_nowhere(sys.stdout)
        what = f"writing {error.filename or 'the result'}: {error.strerror}"
        typer.echo(f"moeserve: {one_line(what)}", err=True)
        sys.exit(StorageError.exit_code)


def one_line(text: str) -> str:
    """Fold a message into one printable line."""
    return " ".join(plain(text[:LONGEST_NOTE]).split())


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raise BadValue for an argument without a value: `--endpoint "$URL"` where URL is not set.

    Taken for a default it would be another study than the one that was asked for.
    """
    for before, word in pairwise(["", *arguments]):
        flag, equals, value = word.partition("=")
        if not word.strip() or (FLAG.fullmatch(flag) and equals and not value.strip()):
            name = flag.strip() or (before if before.startswith("-") else "an argument")
            raise BadValue(name, value, "a value that is not empty (is a shell's variable unset?)")


def repeat_flags(arguments: Sequence[str]) -> list[str]:
    """Write `--goodput a b` as `--goodput a --goodput b`."""
    repeated: list[str] = []
    flag = ""
    for word in arguments:
        if flag and SEVERAL_VALUES[flag].fullmatch(word) and repeated[-1] != flag:
            repeated += [flag, word]
            continue
        if word in SEVERAL_VALUES:
            flag = word
        elif not (flag and repeated[-1] == flag):
            flag = ""
        repeated.append(word)
    return repeated
