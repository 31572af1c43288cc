"""The analytic model alone: a layout's steady state in closed form, without simulating a run.

A wave of c requests over dp replicas decodes B = ⌈c/dp⌉ sequences a replica, as far as the cache
holds them. It takes ⌈B/p⌉ steps of p prompts and n_out − 1 decode steps at the middle context:

    T ≈ n/c (t_before + ⌈B/p⌉ t_prefill(p, n_in) + (n_out − 1) t_decode(B, n_in + n_out/2))
    X ≈ n n_out / T

Before a wave is what its requests take in the front end, and how much longer the start of a stream
takes than the rest of the answer, as far as no requests of the next wave wait for cache or slots.
"""

from dataclasses import dataclass

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.breakdown import StepCost, step_cost
from perfmodel.constants import Constants
from perfmodel.experts import touched
from perfmodel.load import decode_load, prefill_load
from perfmodel.priced import check_priced
from perfmodel.serving import ServerModel, ServerSettings, server
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a server: equal requests, so many at a time."""

    input_len: int
    output_len: int
    num_prompts: int
    max_concurrency: int

    @property
    def in_flight(self) -> int:
        return min(self.max_concurrency, self.num_prompts)


@dataclass(frozen=True, slots=True)
class SteadyStateEstimate:
    """The closed form's answer, with the two steps it rests on."""

    output_throughput: float
    ttft_s: float
    tpot_s: float | None
    """None of answers of one token."""
    batch: int
    """Sequences a replica decodes together."""
    kv_fill: float
    """Cache that a full batch needs, over what there is; more than 1 queues."""
    experts_touched: float
    """Share of the experts that a decode step of all replicas reads."""
    prefill: StepCost
    decode: StepCost

    @property
    def tpot_ms(self) -> float | None:
        return None if self.tpot_s is None else 1e3 * self.tpot_s


def serving(
    model: Model, layout: Layout, gpu: Gpu, *, longest: int, constants: Constants | None
) -> ServerModel:
    """A server with vLLM's defaults; Infeasible where the layout cannot carry the model.

    A knob that the model does not price is BadValue.
    """
    check_priced(layout, model)
    return server(model, layout, gpu, longest=longest, setup=ServerSettings(constants=constants))


def steady_state(on: ServerModel, demand: Demand) -> SteadyStateEstimate:
    """Price a wave of requests on one server."""
    step, limits = on.step_model, on.limits
    dp, window = step.layout.dp, step.model.reach
    longest = demand.input_len + demand.output_len
    asked = -(-demand.in_flight // dp)
    room = max(1, limits.kv_blocks * limits.block_tokens // longest)
    batch = min(asked, room, limits.max_num_seqs)
    ranks = dp if step.lockstep else 1
    middle = demand.input_len + demand.output_len // 2
    decode = step_cost(step, [decode_load(batch, middle, window=window)] * ranks)
    together = max(1, min(batch, limits.max_num_batched_tokens // demand.input_len))
    prompts = prefill_load(together, demand.input_len, window=window)
    prefill = step_cost(step, [prompts] * ranks)
    prefill_s = -(-batch // together) * prefill.seconds
    waves = demand.num_prompts / min(demand.in_flight, room * dp, limits.max_num_seqs * dp)
    decode_s = (demand.output_len - 1) * decode.seconds
    prompts_s = (prefill_s + prefill.seconds) / 2
    latency = _latencies(on, demand, prompts_s, after_s=prefill_s - prompts_s + decode_s)
    wave_s = prefill_s + decode_s
    taken_s = batch * step.constants.intake_s
    before_s = taken_s + max(0.0, step.constants.first_token_s - decode_s)
    # As much of the next wave as waits for cache or slots is past the front end already.
    wave_s = max(taken_s, wave_s + before_s * max(0.0, 2 - asked / batch))
    experts = step.model.experts
    tokens = batch * ranks
    hit = touched(experts.count, experts.top_k, tokens) / experts.count if experts else 0.0
    return SteadyStateEstimate(
        output_throughput=demand.num_prompts * demand.output_len / (waves * wave_s),
        ttft_s=latency[0],
        tpot_s=latency[1],
        batch=batch,
        kv_fill=asked / room,
        experts_touched=float(hit),
        prefill=prefill,
        decode=decode,
    )


def _latencies(
    on: ServerModel, demand: Demand, prompts_s: float, *, after_s: float
) -> tuple[float, float | None]:
    """Mean time to first token, and per output token of what comes after it.

    The front end, which a wave's requests share, comes before the engine; a stream takes a while
    to begin, for which the engine does not wait.
    """
    constants, further = on.step_model.constants, demand.output_len - 1
    together = -(-demand.in_flight // on.step_model.layout.dp)
    ttft_s = together * constants.intake_s + prompts_s + constants.first_token_s
    if not further:
        return ttft_s, None
    return ttft_s, max(0.0, after_s - constants.first_token_s) / further
