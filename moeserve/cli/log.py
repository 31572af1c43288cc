"""What the packages below warn of, as notes on standard error."""

import logging

import typer

from catalog.plain_text import message
from catalog.secrets import redact


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(message(redact(record.getMessage())), err=True)


def show_warnings() -> None:
    """Print what the catalog warns of: which sizes of a model are not known."""
    logger = logging.getLogger("catalog")
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())
        logger.propagate = False
