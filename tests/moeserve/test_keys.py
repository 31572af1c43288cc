"""What an experiment's file may hold: the template, the schema and the pages say the same."""

import re
import runpy
from pathlib import Path

import msgspec
import pytest
import yaml

from moeserve.cli import main
from moeserve.cli.init import template
from moeserve.keys import experiment_schema, keys
from orchestrator.experiment.experiment import Experiment, experiment_from, read_experiment
from orchestrator.results.record import COLUMNS

SCRIPT = Path(__file__).parents[2] / "scripts" / "generate_pages.py"
DOCS = SCRIPT.parents[1] / "docs"
PAGES = runpy.run_path(str(SCRIPT))["PAGES"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_what_the_code_says(name: str) -> None:
    """`python scripts/generate_pages.py` writes them anew."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


@pytest.mark.slow
def test_every_key_and_every_column_is_explained() -> None:
    assert not [key.name for key in keys() if not key.about]
    page = PAGES["columns.md"]()
    unexplained = [c for c in COLUMNS if re.search(rf"^\| `{c}` .*\| – \|$", page, re.M)]
    assert not unexplained


def test_init_writes_an_experiment_that_is_read_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    main_ok(["init", str(path)])
    assert read_experiment(path).strategies == ("tp", "ep")
    assert capsys.readouterr().out == f"{path}\n"
    path.write_text("name: mine")
    with pytest.raises(SystemExit) as end:
        main(["init", str(path)])
    assert end.value.code == 2
    assert path.read_text() == "name: mine"


def main_ok(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0


def uncommented() -> object:
    """The template with every line that a `#` switches off switched on."""
    lines = [
        re.sub(r"^# ?(?=\s*[a-z_]+:(\s|$))", "", line)
        for line in template().splitlines()
        if "yaml-language-server" not in line
    ]
    return yaml.safe_load("\n".join(lines))


def test_the_template_holds_every_key_with_its_default() -> None:
    document = uncommented()
    assert isinstance(document, dict)
    parts = {"server", "endpoint_options", "ray"}
    found = {*(set(document) - parts), *(f"{p}.{name}" for p in parts for name in document[p])}
    assert found == {key.name for key in keys()}
    shown = {"models", "strategies", "workloads", "concurrency", "hardware"}
    defaults = msgspec.to_builtins(Experiment())
    for name, value in document.items():
        if name not in shown:
            assert msgspec.json.encode(value) == msgspec.json.encode(defaults[name]), name
    experiment_from(document, source="template")


def test_the_schema_names_every_field_and_allows_the_short_forms() -> None:
    schema = experiment_schema()
    fields = schema["$defs"]["Experiment"]["properties"]
    assert set(fields) == set(Experiment.__struct_fields__)
    assert {"type": "integer"} in fields["concurrency"]["anyOf"]
    assert {"type": "string"} in fields["strategies"]["anyOf"]
    assert schema["$defs"]["Experiment"]["additionalProperties"] is False
    assert all(field.get("description") for name, field in fields.items() if "$ref" not in field)
