"""The list of commands is true, and a help page loads what it shows."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest
import typer
from typer.main import get_group

import moeserve.cli
from moeserve.cli import main
from moeserve.cli.commands import COMMANDS, load

MODULES = [module.name for module in pkgutil.iter_modules(moeserve.cli.__path__)]
HEAVY = {"pandas", "torch", "ray", "scipy", "statsmodels", "matplotlib", "pyarrow", "numpy"}
AT_WORK = {"aiohttp", "yaml", "slurm", "diffusion_study", "workloads", "perfmodel", "strategies"}
LIGHT = {"analysis", "orchestrator", "msgspec", "asyncio"}
"""What a command's module may load: the type of a row, and which package to install."""


def loaded_by_help_of(names: list[str], watched: set[str]) -> dict[str, list[str]]:
    """Show help pages in one fresh process; return what each was the first to load, if watched."""
    program = (
        "import json, sys\n"
        "from moeserve.cli import main\n"
        "def loaded(): return {name.partition('.')[0] for name in sys.modules}\n"
        "seen = {}\n"
        f"for name in {names}:\n"
        "    before = loaded() if seen else set()\n"
        "    try: main([*name.split(), '--help'])\n"
        "    except SystemExit as ended: assert ended.code == 0\n"
        "    seen[name] = list(loaded() - before)\n"
        "print(json.dumps(seen), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("--help") >= len(names)
    seen = json.loads(done.stderr)
    return {name: found for name in names if (found := sorted(watched & set(seen[name])))}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_says_first(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help.split("\n\n")[0].strip() == COMMANDS[name].about


@pytest.mark.slow
def test_every_command_that_a_module_adds_is_in_the_list() -> None:
    app = typer.Typer()
    for name in MODULES:
        module = importlib.import_module(f"moeserve.cli.{name}")
        if hasattr(module, "add_to"):
            module.add_to(app)
    below = {sub for name in COMMANDS for sub in getattr(load(name), "commands", ())}
    assert set(get_group(app).commands) - below == set(COMMANDS)


@pytest.mark.slow
def test_the_list_is_shown_without_loading_a_command() -> None:
    assert loaded_by_help_of([""], HEAVY | AT_WORK | LIGHT) == {}


@pytest.mark.slow
def test_a_command_s_help_loads_nothing_that_it_computes_with() -> None:
    below = [f"{name} {sub}" for name in COMMANDS for sub in getattr(load(name), "commands", ())]
    assert loaded_by_help_of([*COMMANDS, *below], HEAVY | AT_WORK) == {}


def test_a_slip_in_a_command_s_name_is_answered_with_the_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["anvoa"])
    assert ended.value.code == 2
    assert "Did you mean 'anova'?" in capsys.readouterr().err


def test_the_version_is_the_installed_one_s() -> None:
    assert moeserve.__version__ == importlib.metadata.version("moeserve")
    with pytest.raises(AttributeError, match="no attribute 'versoin'"):
        moeserve.versoin  # type: ignore[attr-defined]  # noqa: B018
