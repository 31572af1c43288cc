"""A measured server that is also asked which experts its tokens went to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.errors import EndpointError
from orchestrator.cells import Run
from orchestrator.engines.base import Measurement, Watch
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.traffic import traffic_of
from orchestrator.expert_load import Experts, balancer_figures, counts, figures, probe, samples
from orchestrator.record import Provenance

LARGEST_LOG_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class ExpertSession:
    """Measures as the session inside does, then looks at the experts of the same prompts."""

    inner: HttpSession
    experts: Experts
    log: Path | None = None
    """Of a server of ours."""

    @property
    def provenance(self) -> Provenance:
        return self.inner.provenance

    @property
    def gpu_type(self) -> str:
        return self.inner.gpu_type

    @property
    def details(self) -> Mapping[str, Any]:
        return self.inner.details

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        before = self._log_bytes()
        measured = await self.inner.measure(run, watch)
        if watch.stop.is_set():
            return measured
        told = dict(balancer_figures(self._logged_since(before)))
        watch.on_stage("asking for the experts of some prompts")
        try:
            told |= await self._routed(run, watch)
        except EndpointError as error:
            reason = f"EXPERTS_UNKNOWN: {error}"
            return replace(measured, reasons=(*measured.reasons, reason))
        return replace(measured, figures={**measured.figures, **told})

    async def _routed(self, run: Run, watch: Watch) -> dict[str, float | None]:
        prompts = traffic_of(run, vocab=self.inner.vocab).prompts.tolist()
        length = run.cell.workload.output_len
        told = await probe(self.inner.control, self.inner.target.model, prompts, length)
        if not told:
            raise EndpointError("the server returns no routed experts with its answers")
        tokens = counts(told, self.experts.count)
        if watch.folder is not None:
            samples(tokens).write(watch.folder / "experts.parquet")
        return figures(tokens, self.experts.ranks)

    def _log_bytes(self) -> int:
        return self.log.stat().st_size if self.log else 0

    def _logged_since(self, start: int) -> str:
        if self.log is None:
            return ""
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read(LARGEST_LOG_BYTES).decode(errors="replace")
