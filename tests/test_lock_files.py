"""The lock files of CI: whole, by hash, and from nowhere in particular."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
LOCKS = {
    "dev.lock": ("dev", "analysis", "ray"),
    "vllm-cpu.lock": ("dev", "analysis", "ray", "quant"),
}


def locked(name: str) -> list[tuple[Requirement, int]]:
    """The requirements of a lock file, each with the number of its hashes."""
    joined = (ROOT / ".ci" / name).read_text().replace("\\\n", " ")
    entries = [line.split("--hash=sha256:") for line in joined.splitlines() if line.strip()]
    return [(Requirement(head.strip()), len(hashes)) for head, *hashes in entries]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_distribution_has_one_version_and_its_hashes(name: str) -> None:
    entries = locked(name)
    assert len(entries) > 50
    assert [str(r) for r, hashes in entries if not hashes] == []
    assert [str(r) for r, _ in entries if not re.fullmatch(r"==[^,*]+", str(r.specifier))] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_address(name: str) -> None:
    text = (ROOT / ".ci" / name).read_text()
    assert re.findall(r"https?:|file:|--(?!hash=sha256:)\S+| @ ", text) == []


@pytest.mark.parametrize(("name", "extras"), LOCKS.items())
def test_a_lock_file_meets_every_bound_of_the_metadata(name: str, extras: tuple[str, ...]) -> None:
    by_name: dict[str, list[Requirement]] = {}
    for each, _ in locked(name):
        by_name.setdefault(canonicalize_name(each.name), []).append(each)
    wanted = [*CORE, *(text for extra in extras for text in EXTRAS[extra])]
    missing = [
        text
        for text in wanted
        if (asked := Requirement(text)).name != "moeserve"
        and not any(
            asked.specifier.contains(next(iter(each.specifier)).version)
            for each in by_name.get(canonicalize_name(asked.name), [])
        )
    ]
    assert missing == []
