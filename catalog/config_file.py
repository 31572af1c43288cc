"""Where a `config.json` lies and how it is read; nothing here knows what is in it."""

import json
import os
import re
from pathlib import Path

from catalog.errors import BadFile
from catalog.units import MIB

LARGEST_FILE = 10 * MIB
HF_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_YES = ("1", "on", "yes", "true")


def read_config(path: Path) -> dict[str, object]:
    """Return the object in a JSON file of at most 10 MiB."""
    shown = printable(path)
    try:
        if not path.is_file():
            raise BadFile(shown, "is not a regular file")
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadFile(shown, f"cannot be read: {error.strerror or error}") from error
    if len(content) > LARGEST_FILE:
        raise BadFile(shown, f"is over {LARGEST_FILE // MIB} MiB, too large for a model config")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadFile(shown, f"is not JSON: {_one_line(error)}") from error
    if not isinstance(config, dict):
        raise BadFile(shown, f"holds a {type(config).__name__}, not an object")
    return config


def cache_directory() -> Path:
    """Return the Hugging Face hub's cache as its own library finds it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or home)
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def cached_config(hf_id: str) -> Path | None:
    """Return the config of a model in the cache: that of its main branch, else the newest."""
    repository = cache_directory() / f"models--{hf_id.replace('/', '--')}"
    snapshots = sorted(
        (path for path in repository.glob("snapshots/*/config.json") if path.is_file()),
        key=lambda path: path.stat().st_mtime,
    )
    main = repository / "refs" / "main"
    revision = main.read_text(errors="replace").strip() if main.is_file() else ""
    return next(
        (path for path in snapshots if path.parent.name == revision),
        snapshots[-1] if snapshots else None,
    )


def fetch_config(hf_id: str) -> Path:
    """Fetch `config.json` and nothing else; a ConnectionError says why it could not."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    except ImportError as error:
        raise ConnectionError("huggingface_hub is not installed") from error
    try:
        # Asked first: without a network this fails at once, the download only after half a minute.
        get_hf_file_metadata(hf_hub_url(hf_id, "config.json"), timeout=10)
        return Path(hf_hub_download(hf_id, "config.json"))
    except Exception as error:
        raise ConnectionError(f"{type(error).__name__}: {_one_line(error)}") from error


def printable(path: Path) -> str:
    """Return the path as it is, or quoted where it would break the one line of a message."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 80 else text[:80] + "…"
