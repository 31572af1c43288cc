"""The oldest vLLM whose servers can be read back, and the refusal of older ones."""

from catalog.errors import ServerStartFailed
from catalog.versions import release

OLDEST = "0.10.2"
WHY = "an older one does not say in its log how it splits data and experts"


def is_too_old(version: str | None) -> bool:
    """Whether a version is known to be older; a build from between releases tells none."""
    numbers = release(version or "")
    return bool(numbers) and "dev" not in (version or "") and numbers < release(OLDEST)


def refuse_old(version: str | None) -> None:
    """Raise ServerStartFailed `SERVER_TOO_OLD` for a version that is known to be older."""
    if is_too_old(version):
        raise ServerStartFailed(
            f"SERVER_TOO_OLD: vLLM {version}: {OLDEST} or later is wanted, for {WHY}: pip install "
            "-U vllm, or name the command of a newer one with --server-command",
            stage="launch",
        )
