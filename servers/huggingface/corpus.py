"""English text that is wherever Python is: the help topics of its standard library."""

from importlib import import_module

from catalog.errors import BadFile

MODULE = "pydoc_data.topics"


def help_topics() -> str:
    """Return Python's help topics by name, some 460,000 characters; they differ by its version."""
    try:
        topics: dict[str, str] = import_module(MODULE).topics
    except ImportError as error:
        raise BadFile(MODULE, "not in this Python's standard library") from error
    return "\n".join(topics[name] for name in sorted(topics))
