"""The numbers a forest sees of one option: architecture, demand, hardware, layout, outlook."""

from collections.abc import Mapping

import numpy as np

from analysis.predict.steady_state import Demand, SteadyStateEstimate
from catalog.hardware import Gpu
from catalog.models import Model
from catalog.units import DTYPE_BYTES
from perfmodel.arrays import FloatArray
from perfmodel.breakdown import StepCost
from perfmodel.serving import ServerModel

BOUNDS = ("launch", "memory", "compute", "communication", "host")
PARTS = ("attention", "projections", "dense", "experts", "head")


def features(on: ServerModel, demand: Demand, found: SteadyStateEstimate) -> dict[str, float]:
    """One option as named numbers; sizes as binary logarithms."""
    step = on.step_model
    return {
        **_architecture(step.model),
        **_hardware(step.gpu),
        "log_input_len": _log(demand.input_len),
        "log_output_len": _log(demand.output_len),
        "log_in_flight": _log(demand.in_flight),
        "log_waves": _log(demand.num_prompts / demand.in_flight),
        "log_tp": _log(step.layout.tp),
        "log_dp": _log(step.layout.dp),
        "log_pp": _log(step.layout.pp),
        "expert_parallel": float(step.layout.ep),
        "log_batch": _log(found.batch),
        "log_kv_fill": _log(found.kv_fill),
        "experts_touched": found.experts_touched,
        "analytic_log_throughput": _log(found.output_throughput),
        **_step("decode", found.decode),
        **_step("prefill", found.prefill),
    }


def _architecture(model: Model) -> dict[str, float]:
    experts = model.experts
    return {
        "log_experts": _log(experts.count) if experts else 0.0,
        "log_top_k": _log(experts.top_k) if experts else 0.0,
        "log_expert_width": _log(experts.width) if experts else 0.0,
        "shared_over_expert": experts.shared_width / experts.width if experts else 0.0,
        "log_hidden": _log(model.hidden),
        "log_layers": _log(model.layers),
        "log_total_params": _log(model.total_params),
        "active_share": model.active_params / model.total_params,
        "log_kv_bytes": _log(model.kv_elements_per_token * DTYPE_BYTES["bfloat16"]),
        "log_kv_heads": _log(model.attention.kv_heads),
    }


def _hardware(gpu: Gpu) -> dict[str, float]:
    peak, link = gpu.peak_flops_per_s("bfloat16"), gpu.link(2)
    return {
        "log_memory_bytes": _log(gpu.memory_bytes),
        "log_bandwidth": _log(gpu.bandwidth_bytes_per_s),
        "log_flops_per_byte": _log(peak / gpu.bandwidth_bytes_per_s),
        "log_link_bandwidth": _log(link.bandwidth_bytes_per_s),
        "log_link_latency": _log(link.latency_s),
    }


def _step(name: str, cost: StepCost) -> dict[str, float]:
    whole = sum(cost.seconds_by_bound.values()) or 1.0
    bounds: Mapping[str, float] = {str(k): v for k, v in cost.seconds_by_bound.items()}
    parts = {part.name: part.seconds for part in cost.parts}
    return {
        f"{name}_log_seconds": _log(cost.seconds),
        **{f"{name}_{bound}_share": bounds.get(bound, 0.0) / whole for bound in BOUNDS},
        **{f"{name}_{part}_share": parts.get(part, 0.0) / cost.seconds for part in PARTS},
    }


def _log(value: float) -> float:
    return float(np.log2(value)) if value > 0 else -64.0


def with_rivals(matrix: FloatArray, names: list[str], case: np.ndarray) -> FloatArray:
    """Append how far each option's outlook is behind the best of its case."""
    column = matrix[:, names.index("analytic_log_throughput")]
    best = np.full(int(case.max()) + 1, -np.inf)
    np.maximum.at(best, case, column)
    return np.column_stack([matrix, column - best[case]])
