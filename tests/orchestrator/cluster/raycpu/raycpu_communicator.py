"""How ranks of vLLM's CPU platform talk when they are not all on one host."""

import socket

import torch
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator


class HostsCommunicator(CpuCommunicator):
    """Shared memory among ranks of one host only; gloo across hosts.

    vLLM compares the names of the shared memory, which the hosts of one server share.
    """

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        hosts = [""] * self.world_size
        torch.distributed.all_gather_object(hosts, socket.gethostname(), group=self.device_group)
        return len(set(hosts)) == 1 and super()._all_group_ranks_share_shm_group_name()
