"""Where a `config.json` lies and how it is read; nothing here knows what is in it."""

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadFile
from catalog.units import MIB

LARGEST_FILE = 10 * MIB
HF_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
GGUF = (
    "is a GGUF file: name its model with -m (a name of the catalog, or its config.json), and the "
    "file with -t gguf:FILE"
)
_YES = ("1", "on", "yes", "true")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config and what lies beside it."""

    config: Mapping[str, object]
    name: str
    """The model's: from its directory, its file, or the id of the hub."""
    where: str
    """The file, for errors."""
    beside: Mapping[str, object] | None
    """The `hf_quant_config.json` of the same directory."""
    hf_id: str | None = None
    source: str = ""
    """Where the config is from, if more can be said than the file."""


def config_at(path: Path) -> ConfigFile:
    """Read the config at a path, or the one in this directory."""
    if path.is_dir():
        directory, path = path, path / "config.json"
        if not path.exists():
            raise BadFile(printable(directory), "holds no config.json" + _instead(directory))
    if path.suffix == ".gguf":
        raise BadFile(printable(path), GGUF)
    config, beside = read_config(path), path.parent / "hf_quant_config.json"
    told = read_config(beside) if path.name == "config.json" and beside.is_file() else None
    return ConfigFile(config, _name(path), printable(path), told)


def _instead(directory: Path) -> str:
    """Say what a directory without a config holds in its place, and what to do with it."""
    if (directory / "params.json").exists():
        return (
            ", but Mistral's own params.json, which is not read: start its server yourself and "
            "measure it with --endpoint, or give a config.json of the same model"
        )
    return f": what it has {GGUF}" if any(directory.glob("*.gguf")) else ""


def _name(path: Path) -> str:
    """Return the model's name from where its config lies: its directory, or the cached hub id."""
    directory = path.parent.resolve()
    if directory.parent.name == "snapshots":
        return directory.parent.parent.name.removeprefix("models--").replace("--", "/")
    return directory.name if path.name == "config.json" else path.stem


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
    """Fetch `config.json`, and its quantisation where that is a file of its own, nothing else.

    A ConnectionError says why it could not.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    except ImportError as error:
        raise ConnectionError("huggingface_hub is not installed") from error
    try:
        # Asked first: without a network this fails at once, the download only after half a minute.
        get_hf_file_metadata(hf_hub_url(hf_id, "config.json"), timeout=10)
        path = Path(hf_hub_download(hf_id, "config.json"))
    except Exception as error:
        raise ConnectionError(f"{type(error).__name__}: {_one_line(error)}") from error
    with contextlib.suppress(Exception):  # few repositories have it, and the config is whole
        hf_hub_download(hf_id, "hf_quant_config.json")
    return path


def printable(path: Path) -> str:
    """Return the path as it is, or quoted where it would break the one line of a message."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 80 else text[:80] + "…"
