"""A measured server that is also asked which experts its tokens went to."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from catalog.errors import EndpointError
from orchestrator.engine import Callbacks, Measurement
from orchestrator.experiment.cells import Run
from orchestrator.measure.expert_load import (
    MOST_PROMPTS,
    RoutedExperts,
    balancer_figures,
    count_tokens,
    request_routing,
    token_samples,
)
from orchestrator.measure.http_session import WrappedSession
from perfmodel.expert_balance import balance_figures

LARGEST_LOG_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class ExpertSession(WrappedSession):
    """Measures through the HTTP session, then requests the routing of the same prompts."""

    experts: RoutedExperts
    log: Path | None = None
    """The log of a server that this process started."""

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        before = self._log_bytes()
        measured = await self.http.measure(run, callbacks)
        if callbacks.stop.is_set():
            return measured
        expert_figures = dict(balancer_figures(self._logged_since(before)))
        callbacks.on_stage("asking for the experts of some prompts")
        try:
            expert_figures |= await self._routed(run, callbacks)
        except EndpointError as error:
            reason = f"EXPERTS_UNKNOWN: {error}"
            return replace(measured, reasons=(*measured.reasons, reason))
        return replace(measured, figures={**measured.figures, **expert_figures})

    async def _routed(self, run: Run, callbacks: Callbacks) -> dict[str, float | None]:
        prompts = self.http.traffic(run).prompts
        ids = [each.tolist() for each in prompts if isinstance(each, np.ndarray)]
        if len(ids) < len(prompts):
            raise EndpointError("prompts of text have no token ids to ask for")
        control, model = self.http.control, self.http.target.model
        length = run.cell.workload.output_len
        routed = await request_routing(control, model, ids[:MOST_PROMPTS], length)
        if not routed:
            raise EndpointError("the server returns no routed experts with its answers")
        tokens = count_tokens(routed, self.experts.count)
        if callbacks.folder is not None:
            token_samples(tokens).write(callbacks.folder / "experts.parquet")
        return balance_figures(tokens, self.experts.ranks)

    def _log_bytes(self) -> int:
        return self.log.stat().st_size if self.log else 0

    def _logged_since(self, start: int) -> str:
        if self.log is None:
            return ""
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read(LARGEST_LOG_BYTES).decode(errors="replace")
