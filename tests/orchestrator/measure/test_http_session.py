"""The HTTP session behind every session whose server answers over HTTP."""

from typing import cast

from orchestrator.engines.huggingface.diffusion import DiffusionSession
from orchestrator.engines.simulated.engine import SimulatedSession
from orchestrator.measure.control import Control
from orchestrator.measure.expert_load import RoutedExperts
from orchestrator.measure.expert_session import ExpertSession
from orchestrator.measure.http_session import HttpBacked, HttpSession
from perfmodel.serving import ServerModel
from workloads.transport.target import Target

PLAIN = HttpSession(
    target=Target(base_url="http://127.0.0.1:8000", model="m"),
    control=cast("Control", None),
    vocab=100,
    provenance="measured",
    gpu_type="A100-80GB",
    details={},
)


def test_every_session_over_http_leads_to_its_http_session() -> None:
    wrapped = (PLAIN, ExpertSession(PLAIN, RoutedExperts(8, None)), DiffusionSession(PLAIN, {}))
    for session in wrapped:
        assert isinstance(session, HttpBacked)
        assert session.http is PLAIN


def test_a_session_in_virtual_time_has_no_http_session() -> None:
    assert not isinstance(SimulatedSession(cast("ServerModel", None)), HttpBacked)
