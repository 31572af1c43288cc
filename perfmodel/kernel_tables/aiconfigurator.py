"""The tables of AIConfigurator: `data/SYSTEM/FAMILY/vllm/VERSION/FILE.parquet`, of vLLM's kernels.

The newest version of each family counts.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from catalog.models import LatentAttention
from perfmodel.kernel_tables import attention, experts, latent, products, reduces
from perfmodel.kernel_tables.grid import Measured
from perfmodel.kernel_tables.kernels import Kernels, Wanted

SYSTEMS = {
    "A100-80GB": "a100_sxm", "A100-PCIe-80GB": "a100_pcie", "A30": "a30", "H100": "h100_sxm",
    "H100-PCIe": "h100_pcie", "H200": "h200_sxm", "B200": "b200_sxm", "B300": "b300_sxm",
    "GB200": "gb200", "GB300": "gb300", "L4": "l4", "L40S": "l40s",
    "RTX-PRO-6000-SE": "rtx_pro_6000_server",
}  # fmt: skip
"""Folders of the GPUs of `moeserve hardware`; one of a user's own goes by another name."""
DATA, ENGINE = "data", "vllm"


def kernels(folder: Path, wanted: Wanted) -> Kernels:
    """What of a step the tables hold; nothing for a GPU that they lack."""
    system = SYSTEMS.get(wanted.gpu.name)
    if system is None or not (folder / DATA / system).is_dir():
        return Kernels(f"no table of {wanted.gpu.name}")
    return _System(folder / DATA / system, wanted).kernels()


def has(folder: Path, gpu: str) -> bool:
    """Whether there is a table of vLLM's kernels on a GPU of this name."""
    system = SYSTEMS.get(gpu)
    return system is not None and any((folder / DATA / system).glob(f"*/{ENGINE}"))


class _System:
    """One GPU's tables."""

    def __init__(self, root: Path, wanted: Wanted) -> None:
        self._root, self._wanted = root, wanted
        self._versions: set[str] = set()

    def kernels(self) -> Kernels:
        found = Kernels(
            name="",
            experts=self._experts(),
            attention=self._attention(),
            products=self._products(),
            reduces=self._reduces(),
        )
        if not self._versions:
            return Kernels(f"no table of {self._wanted.gpu.name}")
        versions = " and ".join(sorted(self._versions))
        return found.named(f"vLLM {versions} on {self._wanted.gpu.name}")

    def _experts(self) -> experts.LayerExperts | None:
        wanted, path = self._wanted, self._newest("moe", experts.FILE)
        if path is None or wanted.skewed is None:
            return None
        return experts.table_experts(path, wanted.model, wanted.layout, skewed=wanted.skewed)

    def _attention(self) -> attention.AttentionTable | None:
        wanted = self._wanted
        latents = isinstance(wanted.model.attention, LatentAttention)
        family, file = ("mla", latent.DECODE) if latents else ("attention", attention.DECODE)
        path = self._newest(family, file)
        if path is None:
            return None
        read = latent.latent_table if latents else attention.attention_table
        return read(path.parent, wanted.model, wanted.layout, kv_dtype=wanted.kv_dtype)

    def _products(self) -> dict[str, products.ProductTable]:
        path = self._newest("gemm", products.FILE)
        return (
            products.product_tables(path, self._wanted.model, self._wanted.layout) if path else {}
        )

    def _reduces(self) -> Measured | None:
        gpu, ranks = self._wanted.gpu, self._wanted.layout.tp
        path = self._newest("comm", reduces.FILE)
        if path is None or not 1 < ranks <= (gpu.island or gpu.per_node):
            return None
        return reduces.node_reduces(path, ranks)

    def _newest(self, family: str, file: str) -> Path | None:
        found = max(_released(self._root / family / ENGINE, file), default=None)
        if found is None:
            return None
        self._versions.add(found[1].parent.name)
        return found[1]


def _released(folder: Path, file: str) -> Iterator[tuple[tuple[int, ...], Path]]:
    """Released versions that hold the file."""
    for each in folder.glob(f"*/{file}"):
        if re.fullmatch(r"\d+(\.\d+)*", each.parent.name):
            yield tuple(map(int, each.parent.name.split("."))), each
