"""A server that already runs: nothing is started, and its layout is what the user says it is."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import AsyncIterator

import msgspec

from orchestrator.engine import Callbacks, LaunchContext, Session
from orchestrator.engines.endpoint.access import control_of, target_of
from orchestrator.engines.endpoint.first_answer import first_answer
from orchestrator.engines.endpoint.inspect import Answered, inspect
from orchestrator.engines.endpoint.metrics_source import are_several, find_metrics, shared
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.control import Control
from orchestrator.measure.expert_load import RoutedExperts
from orchestrator.measure.expert_session import ExpertSession
from orchestrator.measure.foreign import Foreign
from orchestrator.measure.http_session import HttpSession
from orchestrator.results.record import MEASURED, SIMULATED, Provenance
from servers.identity import SIMULATED_OWNER


class EndpointEngine:
    """Measures a server that somebody else started and will stop."""

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        experiment, vocab = context.experiment, context.model.vocab
        answered = await inspect(experiment, callbacks.on_stage)
        target = target_of(experiment, answered.identity.asked)
        async with control_of(target) as control:
            callbacks.on_stage("proving the server ready")
            first = await first_answer(experiment, target, vocab, callbacks)
            target = dataclasses.replace(target, ends_at_done=first.ends_at_done)
            identity = msgspec.structs.replace(answered.identity, answered_by=first.answered_by)
            options, salt = experiment.endpoint_options, time.time_ns()
            unseen = await find_metrics(
                control, options.metrics_url, several=len(identity.addresses) > 1
            )
            session = HttpSession(
                target=target,
                control=control,
                vocab=vocab,
                provenance=_provenance(answered),
                gpu_type=group.setup.hardware,
                details={
                    "endpoint": target.base_url,
                    "served_name": identity.asked,
                    "version": identity.version or None,
                    "identity": msgspec.to_builtins(identity),
                    "prompt_salt": salt,
                },
                num_warmups=experiment.num_warmups,
                client_workers=experiment.client_workers,
                foreign=Foreign(
                    served_model=identity.asked,
                    salt=salt,
                    texts=first.texts,
                    notes=(*answered.notes, *first.notes, *unseen),
                    stall_timeout_s=options.stall_timeout_s,
                    shared_metrics=functools.partial(_shared, control),
                ),
            )
            routed = context.model.experts if experiment.expert_load else None
            yield ExpertSession(session, RoutedExperts(routed.count, None)) if routed else session


async def _shared(control: Control) -> tuple[str, ...]:
    """Look again after a run: a balancer may have shown one server's counters until then."""
    if control.metrics_url is None or not await are_several(control):
        return ()
    return shared(control)


def _provenance(answered: Answered) -> Provenance:
    return SIMULATED if answered.entry.get("owned_by") == SIMULATED_OWNER else MEASURED
