"""One server as the simulation needs it: a step model and the limits its memory allows."""

from dataclasses import dataclass

import msgspec

from catalog.errors import Infeasible, NotCounted
from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.batching import BatchLimits
from perfmodel.constants import DEFAULT, VLLM_2026_KERNELS, Constants
from perfmodel.engine_defaults import EngineDefaults, engine_defaults, schedules_ahead
from perfmodel.experts import UNIFORM, RoutingSkew
from perfmodel.kernel_tables.source import KernelTables
from perfmodel.memory import VLLM, Conventions, Memory, memory
from perfmodel.offload import WeightLimits, spread_weights
from perfmodel.step import StepModel
from strategies.feasible import layout_violations
from strategies.layout import Layout


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server is started with beside its layout, and what is assumed of it."""

    max_num_batched_tokens: int | None = None
    """None takes the engine's default on this GPU, as does `max_num_seqs`."""
    max_num_seqs: int | None = None
    engine_version: str | None = None
    """Whose defaults are taken; None is the newest known (`perfmodel/engine_defaults.py`)."""
    async_scheduling: bool | None = None
    """What it was told of scheduling ahead; None is what the version does by default."""
    block_tokens: int = 16
    prefix_cached: bool = False
    prefix_caching: bool = False
    """See `BatchLimits`, of both."""
    conventions: Conventions = VLLM
    routing: RoutingSkew = UNIFORM
    constants: Constants | None = None
    """None takes the default calibration; beside measured experts, the one fitted to them."""
    kernel_tables: KernelTables | None = None
    """Measured kernels in the place of formulas, where they have a shape."""
    weights: WeightLimits | None = None
    """Set where weights are spread over host memory and disk and brought in for every step."""

    @property
    def assumed_constants(self) -> Constants:
        """The set that was asked for, else the one for what prices the steps."""
        if self.constants is not None:
            return self.constants
        tables = self.kernel_tables
        return DEFAULT if tables is None or tables.own else VLLM_2026_KERNELS


DEFAULT_SETTINGS = ServerSettings()


@dataclass(frozen=True, slots=True)
class ServerModel:
    """Everything a simulated server is made of."""

    step_model: StepModel
    limits: BatchLimits
    memory: Memory

    @property
    def kv_tokens_capacity(self) -> int:
        """Cache entries of all replicas together."""
        blocks = self.limits.kv_blocks * self.step_model.layout.dp
        return blocks * self.limits.block_tokens


def server(
    model: Model,
    layout: Layout,
    gpu: Gpu,
    *,
    longest: int,
    setup: ServerSettings = DEFAULT_SETTINGS,
) -> ServerModel:
    """Build a server for sequences of up to `longest` tokens; raise Infeasible if it cannot be."""
    if not model.sized:
        raise NotCounted(model.source, model.unread or ("quantization_config",), model.notes[0])
    reasons = layout_violations(layout, model)
    if reasons:
        raise Infeasible(f"{model.name} in {layout.name}: {'; '.join(reasons)}")
    if model.experts:
        setup.routing.check(model.name, model.experts)
    budget = memory(model, layout, gpu, setup.conventions)
    brought_s = 0.0
    try:
        if setup.weights is not None:
            spread = spread_weights(budget, setup.weights, longest)
            budget, brought_s = spread.memory, spread.seconds(gpu)
        budget.check(longest)
    except Infeasible as error:
        raise Infeasible(f"{model.name} in {layout.name} on {gpu.name}: {error}") from None
    defaults = engine_defaults(gpu, layout, setup.engine_version)
    limits = _limits(budget, longest, setup, defaults, reach=model.reach)
    step_model = _step_model(model, layout, gpu, setup)
    step_model.brought_s = brought_s
    return ServerModel(step_model, limits, budget)


def _limits(
    budget: Memory,
    longest: int,
    setup: ServerSettings,
    defaults: EngineDefaults,
    *,
    reach: int | None,
) -> BatchLimits:
    tokens, sequences = defaults.max_num_batched_tokens, defaults.max_num_seqs
    if setup.max_num_batched_tokens is not None:
        tokens = setup.max_num_batched_tokens
    # As in vLLM a limit on sequences that nobody asked for gives way to the budget.
    sequences = min(sequences, tokens) if setup.max_num_seqs is None else setup.max_num_seqs
    # The blocks of the longest sequence must fit whole, though its last one is not full.
    least = -(-longest // setup.block_tokens)
    return BatchLimits(
        kv_blocks=max(least, budget.kv_tokens(longest) // setup.block_tokens),
        block_tokens=setup.block_tokens,
        max_num_batched_tokens=tokens,
        max_num_seqs=sequences,
        prefix_cached=setup.prefix_cached,
        prefix_caching=setup.prefix_caching,
        window=reach,
    )


def _step_model(model: Model, layout: Layout, gpu: Gpu, setup: ServerSettings) -> StepModel:
    """With measured experts, and no constants asked for, those that were fitted beside such."""
    step_model = _priced(model, layout, gpu, setup)
    kernels, beside = step_model.kernels, setup.assumed_constants
    if kernels is None or kernels.experts is None or step_model.constants == beside:
        return step_model
    return _priced(model, layout, gpu, msgspec.structs.replace(setup, constants=beside))


def _priced(model: Model, layout: Layout, gpu: Gpu, setup: ServerSettings) -> StepModel:
    step_model = StepModel(
        model,
        layout,
        gpu,
        constants=setup.constants,
        routing=setup.routing,
        kv_dtype=setup.conventions.kv_dtype,
    )
    step_model.ahead = step_model.constants.serial and schedules_ahead(
        gpu, layout, setup.engine_version, asked=setup.async_scheduling
    )
    if setup.kernel_tables is not None:
        step_model.use(setup.kernel_tables)
    return step_model
