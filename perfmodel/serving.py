"""One server as the simulation needs it: a step model and the limits its memory allows."""

from dataclasses import dataclass

import msgspec

from catalog.errors import Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.batching import Limits
from perfmodel.constants import Constants
from perfmodel.experts import UNIFORM, Routing
from perfmodel.memory import VLLM, Conventions, Memory, memory
from perfmodel.step import StepModel
from strategies.feasible import misfits
from strategies.layout import Layout


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server is started with beside its layout, and what is assumed of it."""

    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    block_tokens: int = 16
    prefix_cached: bool = False
    conventions: Conventions = VLLM
    routing: Routing = UNIFORM
    constants: Constants | None = None
    """None takes the calibration of the hardware."""


DEFAULT_SETUP = Setup()


@dataclass(frozen=True, slots=True)
class Server:
    """Everything a simulated server is made of."""

    step_model: StepModel
    limits: Limits
    memory: Memory

    @property
    def kv_tokens_capacity(self) -> int:
        """Cache entries of all replicas together."""
        blocks = self.limits.kv_blocks * self.step_model.layout.dp
        return blocks * self.limits.block_tokens


def server(
    model: Model, layout: Layout, gpu: Gpu, *, longest: int, setup: Setup = DEFAULT_SETUP
) -> Server:
    """Build a server for sequences of up to `longest` tokens; raise Infeasible if it cannot be."""
    reasons = misfits(layout, model)
    if reasons:
        raise Infeasible(f"{model.name} in {layout.name}: {'; '.join(reasons)}")
    budget = memory(model, layout, gpu, setup.conventions)
    try:
        budget.check(longest)
    except Infeasible as error:
        raise Infeasible(f"{model.name} in {layout.name} on {gpu.name}: {error}") from None
    return Server(_step_model(model, layout, gpu, setup), _limits(budget, longest, setup), budget)


def _limits(budget: Memory, longest: int, setup: Setup) -> Limits:
    # The blocks of the longest sequence must fit whole, though its last one is not full.
    least = -(-longest // setup.block_tokens)
    return Limits(
        kv_blocks=max(least, budget.kv_tokens(longest) // setup.block_tokens),
        block_tokens=setup.block_tokens,
        max_num_batched_tokens=setup.max_num_batched_tokens,
        max_num_seqs=setup.max_num_seqs,
        prefix_cached=setup.prefix_cached,
        window=budget.window,
    )


def _step_model(model: Model, layout: Layout, gpu: Gpu, setup: Setup) -> StepModel:
    return StepModel(
        model,
        layout,
        gpu,
        constants=setup.constants,
        routing=setup.routing,
        kv_dtype=setup.conventions.kv_dtype,
    )
