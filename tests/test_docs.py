"""The documents are true: links lead somewhere, commands are understood, the README's are run."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from moeserve.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
PRINTED = re.compile(r"```text\n(.*?)```", re.DOTALL)
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|c|sh|cff|toml|svg|css|js)|(?:[a-z_]+/)+[a-z_]*)`")
SKETCHED = "..."
"""What a block leaves open that is a pattern to follow, and nothing to run."""
NOT_HERE = {
    *("runs/", "failed/", "ray/namespace"),  # in a results directory
    *("orchestrator/engines/toy/kind.py", "orchestrator/engines/toy/engine.py"),  # written there
}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
BLOCK = re.compile(r"```(?:sh|console)\n(.*?)```", re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield every `moeserve …` command line in a page's shell blocks."""
    for block in BLOCK.findall(page.read_text()):
        text = block.replace("\\\n", " ")
        for line in text.splitlines():
            match = re.match(r"(?:\$ )?(?:\.venv/bin/)?moeserve ([^#|>]*)", line.strip())
            if match and "…" not in match[1]:
                yield shlex.split(match[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture(scope="module")
def project_files() -> frozenset[str]:
    """Every path of the project, each with a slash before it."""
    left_out = {".git", ".venv", "__pycache__"}
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
    return frozenset(f"/{path.as_posix()}" for path in paths if not left_out & set(path.parts))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path, project_files: frozenset[str]) -> None:
    for name in set(FILE.findall(page.read_text())) - NOT_HERE:
        end = "/" + name.rstrip("/")
        assert any(path.endswith(end) for path in project_files), f"{page.name}: {name}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text()
    blocks = [block for block in CODE.findall(text) if SKETCHED not in block]
    if not blocks:
        return
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(blocks), {"__name__": page.stem})  # the project's own page
    assert printed.getvalue() == "".join(PRINTED.findall(text))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_has_flags_that_exist(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        groups = [words[0]] if words[0] not in ("slurm", "predict", "microbench") else words[:2]
        with pytest.raises(SystemExit) as ended:
            main([*groups, "--help"])
        assert ended.value.code == 0, words
        shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        for flag in (word.split("=")[0] for word in words if word.startswith("--")):
            assert flag in shown, f"{page.name}: moeserve {' '.join(words)}: {flag}"


def test_the_readme_s_main_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    makefile = (ROOT / "Makefile").read_text()
    match = re.search(r"^ARGS \?= (.*)$", makefile, re.MULTILINE)
    assert match is not None
    assert f"moeserve run {match[1]}" in (ROOT / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", *shlex.split(match[1])])
    assert ended.value.code == 0
    assert "24 of 24 runs valid" in capsys.readouterr().err


@pytest.mark.parametrize("study", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_study_can_be_planned(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "engine: transformers" in study.read_text() and find_spec("transformers") is None:
        pytest.skip("moeserve[hf] brings transformers")
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(study), "--format", "csv"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 1


@pytest.mark.slow
def test_the_project_speaks_of_itself_alone() -> None:
    """No path of a machine that built it."""
    for path in ROOT.rglob("*.py"):
        if ".venv" not in path.parts and path != Path(__file__):
            assert "/work/" + "main" not in path.read_text(), path
