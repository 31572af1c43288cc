"""What is said of the project in several places says the same in all of them."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
RELEASES = re.compile(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)
CHANGE_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_version_and_date_are_the_same_in_metadata_citation_and_change_log() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    releases = RELEASES.findall((ROOT / "CHANGELOG.md").read_text())
    assert releases[0] == ("Unreleased", "")
    version, date = releases[1]
    assert version == PROJECT["version"] == citation["version"]
    assert date == str(citation["date-released"])
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]


def test_the_change_log_is_newest_first_and_names_only_known_kinds_of_change() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    dates = [date for _, date in RELEASES.findall(text)[1:]]
    assert all(dates)
    assert dates == sorted(dates, reverse=True)
    assert len(RELEASES.findall(text)) == len(re.findall(r"^## ", text, re.MULTILINE))
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGE_KINDS


def test_the_extra_all_brings_every_extra_that_a_user_has() -> None:
    extras = PROJECT["optional-dependencies"]
    match = re.fullmatch(r"moeserve\[(.+)\]", "".join(extras["all"]))
    assert match is not None
    assert set(match[1].split(",")) == set(extras) - {"all", "dev"}


def test_every_list_of_packages_in_the_settings_is_the_same() -> None:
    tools = SETTINGS["tool"]
    packages = set(tools["importlinter"]["root_packages"])
    assert set(tools["mypy"]["packages"]) == packages
    assert set(tools["ruff"]["lint"]["isort"]["known-first-party"]) == packages
    found = tools["setuptools"]["packages"]["find"]["include"]
    assert set(found) == {f"{name}*" for name in packages}


def test_hooks_run_the_tools_of_make_check_from_the_environment_and_fetch_nothing() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = [hook for repo in repos for hook in repo["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    made = [
        line.strip().replace("$(BIN)/", "").removesuffix(" .") for line in recipe[1].splitlines()
    ]
    hooked = [hook["entry"].replace(".venv/bin/", "") for hook in hooks]
    assert [entry.replace(" --force-exclude", "") for entry in hooked] == made


def test_the_hosted_workflow_runs_what_ci_runs() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    steps = [step.get("run") for job in jobs.values() for step in job["steps"]]
    assert ".ci/run" in steps
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_contributing_tells_of_every_marker_that_tests_may_carry() -> None:
    told = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    marked = [text.split(":")[0] for text in SETTINGS["tool"]["pytest"]["ini_options"]["markers"]]
    assert told == marked
