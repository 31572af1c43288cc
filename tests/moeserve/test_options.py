"""The table of an experiment's flags."""

from typing import Any

import msgspec
import pytest

from catalog.errors import BadValue
from moeserve.cli.options import FLAGS, ExperimentFlags
from orchestrator.experiment.experiment import Experiment

ALL = [flag for panel in FLAGS.values() for flag in panel]


def test_every_flag_overrides_a_field_that_is_there_and_no_two_share_a_name() -> None:
    whole = msgspec.to_builtins(Experiment())
    for flag in ALL:
        part, _, field = flag.field.rpartition(".")
        assert field in (whole[part] if part else whole), flag.field
    names = [name for flag in ALL for name in flag.names.split()]
    assert len(names) == len(set(names))


def test_flags_that_are_not_given_leave_an_experiment_alone() -> None:
    nothing = {flag.parameter: None for flag in ALL}
    assert ExperimentFlags(nothing).experiment(None) == Experiment()


def test_flags_of_a_part_change_that_part_alone() -> None:
    given = {"ray_wait_s": 5.0, "server_env": ["A=b=c"], "server_command": "run 'a b'", "seed": 0}
    changed = ExperimentFlags(given).experiment(None)
    plain = Experiment()
    assert changed.ray == msgspec.structs.replace(plain.ray, wait_s=5.0)
    assert changed.server == msgspec.structs.replace(
        plain.server, env={"A": "b=c"}, command=("run", "a b")
    )
    assert changed == msgspec.structs.replace(plain, ray=changed.ray, server=changed.server)


def test_loads_add_up_whether_repeated_or_in_a_list() -> None:
    given = {"concurrency": ["1", "4..8"], "request_rates": ["2", "0.5,1"]}
    changed = ExperimentFlags(given).experiment(None)
    assert changed.concurrency == "1,4..8"
    assert changed.request_rates == (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("idle", "needed"),
    [
        ({"attainment": 0.9}, {"goodput": ["ttft:200"]}),
        ({"burstiness": "2"}, {"request_rates": ["2"]}),
        ({"api_key_file": "key"}, {"endpoint": "http://127.0.0.1:1"}),
        ({"ray_address": "head:6379"}, {"launcher": "ray"}),
    ],
)
def test_a_flag_that_would_change_nothing_is_refused_with_the_one_it_needs(
    idle: dict[str, Any], needed: dict[str, Any]
) -> None:
    with pytest.raises(BadValue, match="allowed: with --"):
        ExperimentFlags(idle).experiment(None)
    assert ExperimentFlags(idle | needed).experiment(None) != Experiment()
