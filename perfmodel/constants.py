"""The constants of the step-time model, and the sets that ship."""

import math

import msgspec

from catalog.errors import BadValue, UnknownName
from perfmodel.fitted_error import FittedError


class Constants(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the hardware's datasheet does not say."""

    name: str
    kernel_s: float
    """Time between two kernel launches; with `launches` it is the floor of a step."""
    sequence_s: float
    """Host time a sequence of a step: scheduling, sampling, detokenising."""
    step_s: float = 0.0
    """Time a step beside its layers: what prepares it, and sampling."""
    memory_efficiency: float = 0.75
    compute_efficiency: float = 0.45
    network_efficiency: float = 1.0
    between_efficiency: float | None = None
    """The same of links between nodes; None takes that of all."""
    hop_s: float | None = None
    """Latency of a collective's hop; None takes the link's."""
    overlap: float = 0.0
    """Share of a phase's time under which its communication hides."""
    dispatch_launches: float = 0.0
    """Further launches a layer for sending tokens to experts over data-parallel ranks."""
    hybrid_launches: float = 0.0
    """The same where those ranks are tensor-parallel as well."""
    shared_launches: float = 7.0
    """Launches a layer of shared experts, with their gate."""
    hybrid_growth_s: float = 0.0
    """A layer's further time per sequence of a replica, under tensor and data parallelism both."""
    shared_growth_s: float = 0.0
    """The same per squared sequence, for shared experts sliced by tensor parallelism."""
    expert_rereads: float = 1.0
    """Times a touched expert is read in one step; more than 1 is the qs paper's fragmentation."""
    serial: bool = False
    """Kernels run one after another, as replayed CUDA graphs do: launches, reading and computing
    add up. Else the host launches ahead: a phase takes the longer of reading and computing, and a
    step no less than its launches."""
    expert_efficiency: float | None = None
    """`compute_efficiency` of routed experts' products; None takes that of all."""
    attention_efficiency: float | None = None
    """The same of scores and weighted values."""
    slice_s: float = 0.0
    """What a touched expert costs a layer of a rank beside its bytes, however thin its slice."""
    token_passes: float = 0.0
    """Times a layer moves a token's hidden vector: norms, activations, routing, quantising."""
    reduce_s: float | None = None
    """An all-reduce of a small tensor within a node, flat in ranks; None prices ring and tree."""
    direct_s: float | None = None
    """Start of an exchange that sends each token straight to its experts' ranks, all at once; with
    it gathering goes by nodes. None prices a chain of exchanges, and one link for all hops."""
    independent_routing: bool = False
    """The busiest expert-parallel rank has what independent choices give it, not the mean."""
    popularity_cv: float = 0.0
    """With them, how unlike experts are chosen: standard deviation over mean of their popularity.
    A skew that is asked for takes its place."""
    first_token_s: float = 0.0
    """Before a stream begins, beside its steps: HTTP, tokeniser, message queues."""
    intake_s: float = 0.0
    """What the front end's process takes of a request before the engine has it."""
    source: str = ""
    error: FittedError | None = None
    """Where the set was fitted to someone's own runs, how far it is from such."""

    def __post_init__(self) -> None:
        for name in _EFFICIENCIES:
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise BadValue(name, value, "over 0, up to 1")
        if not 1 <= self.expert_rereads < math.inf:
            raise BadValue("expert_rereads", self.expert_rereads, "1 or more")
        for name in _NOT_NEGATIVE:
            if not 0 <= (getattr(self, name) or 0.0) < math.inf:
                raise BadValue(name, getattr(self, name), "0 or more")

    def efficiency_of(self, phase: str) -> float:
        """Share of the peak that a phase's operations reach."""
        own = {"attention": self.attention_efficiency, "experts": self.expert_efficiency}
        return own.get(phase) or self.compute_efficiency


_EFFICIENCIES = (
    "memory_efficiency", "compute_efficiency", "network_efficiency", "between_efficiency",
    "expert_efficiency", "attention_efficiency",
)  # fmt: skip
_NOT_NEGATIVE = (
    "kernel_s", "sequence_s", "step_s", "hop_s", "overlap", "dispatch_launches", "hybrid_launches",
    "shared_launches", "hybrid_growth_s", "shared_growth_s", "slice_s", "token_passes", "reduce_s",
    "first_token_s", "popularity_cv", "direct_s", "intake_s",
)  # fmt: skip

# Fitted to Table IV of «Parallelism Strategies and Concurrency Effects for MoE Inference on GPU
# Systems»: kernel_s, sequence_s and dispatch_launches on its six TP and EP means, hybrid_launches
# on its three hybrid means. The two efficiencies are fixed: the table does not determine them.
A100_VLLM = Constants(
    name="a100-vllm",
    kernel_s=44.0e-6,
    sequence_s=29.0e-6,
    hop_s=0.0,
    dispatch_launches=6.7,
    hybrid_launches=31.3,
    source="four constants fitted to Table IV of the A100 parallelism study (vLLM 0.8)",
)

# The same study with costs that grow with the batch. hybrid_growth_s takes the place of
# hybrid_launches, fitted to the three hybrid means; shared_launches and shared_growth_s are fitted
# to Qwen's mean and its concurrency-128 point under tensor parallelism.
A100_VLLM_GROWTH = Constants(
    name="a100-vllm-growth",
    kernel_s=44.0e-6,
    sequence_s=29.0e-6,
    hop_s=0.0,
    dispatch_launches=6.7,
    shared_launches=4.33,
    hybrid_growth_s=80.3e-6,
    shared_growth_s=60.7e-9,
    source="a100-vllm with growing costs: six constants fitted to the same study's means and one "
    "of its points",
)

# Assumed, fitted to nothing: CUDA graphs at 2 µs a kernel, weights streamed once a step at 80 % of
# the datasheet's bandwidth, matrix products at 60 % of its peak.
ROOFLINE = Constants(
    name="roofline",
    kernel_s=2.0e-6,
    sequence_s=5.0e-6,
    step_s=0.5e-3,
    memory_efficiency=0.80,
    compute_efficiency=0.60,
    network_efficiency=0.80,
    source="read-once roofline; its constants are assumptions, fitted to no measurement",
)

# What a current vLLM does. Kernels' constants from measured kernels of vLLM 0.24 on A100, H100,
# H200 and B200 (aiconfigurator-core 0.12, Apache-2.0): products at 80 % of the peak, experts' at
# 25 to 37, scores at 40; cached entries and weights at 75 to 90 % of the bandwidth; 0.1 to 0.3 µs a
# touched expert; popularity_cv by which whole experts and slices differ in them; all-reduces of 4.3
# to 5.8 µs over 2, 4 or 8 GPUs, then 45 % of the links. Between nodes and for direct exchanges what
# DeepEP publishes. Seven are fitted to published serving measurements, those as priors: kernel_s,
# sequence_s, step_s, token_passes, first_token_s, intake_s, expert_efficiency (docs/perfmodel.md;
# benchmarks/perfmodel/published_errors.py).
VLLM_2026 = Constants(
    name="vllm-2026",
    serial=True,
    kernel_s=3.52e-6,
    sequence_s=54.5e-6,
    step_s=0.216e-3,
    memory_efficiency=0.80,
    compute_efficiency=0.80,
    expert_efficiency=0.283,
    attention_efficiency=0.40,
    slice_s=0.2e-6,
    token_passes=44.2,
    reduce_s=4.7e-6,
    network_efficiency=0.45,
    between_efficiency=0.94,
    direct_s=45e-6,
    independent_routing=True,
    popularity_cv=0.9,
    first_token_s=18.2e-3,
    intake_s=1.72e-3,
    source="measured kernels of vLLM 0.24, and seven constants fitted to 216 published "
    "measurements of vLLM 0.10 to 0.18",
)

# What is left to constants where measured kernels price the experts: fitted as VLLM_2026 is, to
# those 200 of the same measurements whose experts are in the tables of aiconfigurator-core 0.12.
VLLM_2026_KERNELS = msgspec.structs.replace(
    VLLM_2026,
    name="vllm-2026-kernels",
    kernel_s=2.65e-6,
    sequence_s=21.9e-6,
    step_s=0.141e-3,
    token_passes=47.4,
    first_token_s=19.4e-3,
    intake_s=1.77e-3,
    source="vllm-2026 with six constants fitted anew beside measured kernels of vLLM 0.24, to 200 "
    "published measurements of vLLM 0.10 to 0.18",
)

CALIBRATIONS = {
    each.name: each
    for each in (VLLM_2026, VLLM_2026_KERNELS, A100_VLLM, A100_VLLM_GROWTH, ROOFLINE)
}


def beside_kernels(constants: Constants, *, own: bool = False) -> str:
    """What prices a step whose parts are measured kernels where there are some, by name.

    `own` are those that a user measured.
    """
    return f"{constants.name} and {'own' if own else 'measured'} kernels"


def calibration(name: str) -> Constants:
    try:
        return CALIBRATIONS[name]
    except KeyError:
        raise UnknownName("calibration", name, CALIBRATIONS) from None


DEFAULT = VLLM_2026
