"""What the front end takes of requests, put to numbers that a reader can check on paper."""

import msgspec
import numpy as np
import pytest

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import ROOFLINE
from perfmodel.features import INTAKE_S, MeasuredRun, features
from perfmodel.intake import Intake
from perfmodel.serving import DEFAULT_SETTINGS, ServerSettings, server
from perfmodel.simulate import Simulated, simulate
from strategies.parse import parse_layout


def test_requests_that_come_together_reach_the_engine_together() -> None:
    intake = Intake(2.0)
    for request in range(3):
        intake.add(request, 10.0)
    assert intake.next_s == 16.0
    assert intake.take(15.9) == []
    assert intake.take(16.0) == [0, 1, 2]
    assert np.isinf(intake.next_s)


def test_a_later_request_shares_the_process_and_leaves_later() -> None:
    """Alone for 1 s, then both at half speed: the first has its other second after two more."""
    intake = Intake(2.0)
    intake.add(0, 0.0)
    intake.add(1, 1.0)
    assert intake.next_s == pytest.approx(3.0)
    assert intake.take(3.0) == [0]
    # The second has had half of its two seconds, and the rest alone.
    assert intake.next_s == pytest.approx(4.0)
    assert intake.take(4.0) == [1]


def test_an_intake_that_takes_nothing_holds_nobody() -> None:
    intake = Intake(0.0)
    intake.add(7, 3.5)
    assert intake.next_s == 3.5
    assert intake.take(3.5) == [7]


def served(intake_s: float, count: int, in_flight: int, layout: str = "tp2") -> Simulated:
    constants = msgspec.structs.replace(ROOFLINE, intake_s=intake_s)
    built = server(
        model("gpt-oss-20b"), parse_layout(layout), gpu("H100"), longest=256,
        setup=ServerSettings(constants=constants),
    )  # fmt: skip
    lengths, loop = [(128, 8)] * count, ClosedLoop(count, in_flight)
    return simulate(loop, lengths, built.step_model, limits=built.limits)


def test_a_burst_waits_for_its_own_intake_and_is_served_as_before_then() -> None:
    plain, held = served(0.0, 20, 20), served(0.01, 20, 20)
    for before, after in zip(plain.token_times_s, held.token_times_s, strict=True):
        assert after == pytest.approx(before + 20 * 0.01)


def test_each_replica_has_a_front_end_of_its_own() -> None:
    held = served(0.01, 20, 20, layout="dp2+ep")
    plain = served(0.0, 20, 20, layout="dp2+ep")
    assert held.done_s.max() == pytest.approx(plain.done_s.max() + 10 * 0.01)


def test_the_intake_of_steady_requests_hides_behind_the_steps() -> None:
    """One in flight waits 1 ms each time; of 16 the GPU has others to serve meanwhile."""
    alone = [float(served(each, 6, 1).done_s.max()) for each in (0.0, 1e-3)]
    assert alone[1] == pytest.approx(alone[0] + 6 * 1e-3)


@pytest.mark.parametrize("layout", ["tp2", "dp2+ep"])
def test_a_tabulated_run_takes_what_its_simulation_takes(layout: str) -> None:
    intake_s, spec, h100 = 5e-3, model("gpt-oss-20b"), gpu("H100")
    constants = msgspec.structs.replace(ROOFLINE, intake_s=intake_s, hop_s=0.0)
    run = MeasuredRun(
        model=spec, layout=parse_layout(layout), gpu=h100, input_len=128, output_len=8,
        num_prompts=20, max_concurrency=20, output_throughput=1.0,
    )  # fmt: skip
    table = features([run], DEFAULT_SETTINGS, constants)
    without = msgspec.structs.replace(constants, intake_s=0.0)
    burst = 20 / run.layout.dp * intake_s
    for figure in (table.duration_s, table.ttft_s, table.e2el_s):
        assert figure(constants, 1)[0] - figure(without, 1)[0] == pytest.approx(burst)
    assert table.mean_intakes[0] * INTAKE_S == pytest.approx(20 / run.layout.dp * INTAKE_S)
