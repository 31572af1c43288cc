"""The constants of the step-time model, and the sets that ship."""

import math

import msgspec

from catalog.errors import BadValue, UnknownName


class Constants(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the hardware's datasheet does not say."""

    name: str
    kernel_s: float
    """Time between two kernel launches; with `launches` it is the floor of a step."""
    sequence_s: float
    """Host time a sequence of a step: scheduling, sampling, detokenising."""
    step_s: float = 0.0
    """Host time a step."""
    memory_efficiency: float = 0.75
    compute_efficiency: float = 0.45
    network_efficiency: float = 1.0
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
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("memory_efficiency", "compute_efficiency", "network_efficiency"):
            if not 0 < getattr(self, name) <= 1:
                raise BadValue(name, getattr(self, name), "over 0, up to 1")
        if not 1 <= self.expert_rereads < math.inf:
            raise BadValue("expert_rereads", self.expert_rereads, "1 or more")
        for name in _NOT_NEGATIVE:
            if not 0 <= (getattr(self, name) or 0.0) < math.inf:
                raise BadValue(name, getattr(self, name), "0 or more")


_NOT_NEGATIVE = (
    "kernel_s", "sequence_s", "step_s", "hop_s", "overlap", "dispatch_launches", "hybrid_launches",
    "shared_launches", "hybrid_growth_s", "shared_growth_s",
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

CALIBRATIONS = {each.name: each for each in (A100_VLLM, A100_VLLM_GROWTH, ROOFLINE)}


def calibration(name: str) -> Constants:
    try:
        return CALIBRATIONS[name]
    except KeyError:
        raise UnknownName("calibration", name, CALIBRATIONS) from None


def default_calibration(gpu_name: str) -> Constants:
    """The A100 study's constants for A100s, the roofline for everything else."""
    return A100_VLLM if gpu_name.startswith("A100") else ROOFLINE
