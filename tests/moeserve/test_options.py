"""The table of an experiment's flags."""

import msgspec

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
