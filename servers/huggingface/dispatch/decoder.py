"""Greedy decoding of a model that accelerate spreads over device, host memory and disk."""

import argparse
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from catalog.errors import BadValue
from catalog.units import MIB
from servers.huggingface import causal
from servers.huggingface.causal import (
    CausalDecoder,
    checkpoint_folder,
    device_of,
    eos_of,
    recorder_of,
)
from servers.huggingface.decoder_registry import Loaded
from servers.huggingface.dispatch.folder import (
    FLAG,
    check_disk,
    filesystem_of,
    keep_open,
    offload_folder,
)
from servers.huggingface.dispatch.options import DispatchOptions
from servers.huggingface.dispatch.weights import Places, count_weights
from servers.huggingface.pruning import options as pruning
from servers.huggingface.text import load_text

GPU_SHARE = 0.9
"""Of a GPU's free memory, where nobody says how much: what transformers leaves accelerate."""


@dataclass(slots=True)
class DispatchDecoder(CausalDecoder):
    """A causal decoder whose weights come from host memory and disk, pass by pass."""

    places: Places = field(kw_only=True)
    execution: str = field(kw_only=True)
    files: list[int] = field(kw_only=True)
    """Descriptors that keep the weights' unlinked files."""

    @property
    def device(self) -> str:
        return self.execution

    def counters(self) -> Mapping[str, float]:
        return {
            "forward_passes": self._passes,
            "weights_moved_bytes": self.places.moved_bytes,
            "disk_read_bytes": self.places.read_bytes,
        }

    def close(self) -> None:
        """Let go of the files; the decoder cannot be used any more."""
        while self.files:
            os.close(self.files.pop())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    causal.add_arguments(parser)
    parser.add_argument("--gpu-bytes", type=float, help="weights on the GPU, at most")
    parser.add_argument("--cpu-bytes", type=float, help="weights in host memory, at most")
    parser.add_argument(FLAG, type=Path, help="where a folder for weights on disk is made")


def load(args: argparse.Namespace) -> Loaded:
    options = DispatchOptions(gpu_bytes=args.gpu_bytes, cpu_bytes=args.cpu_bytes)
    options.require_library()
    if pruning.parsed(args):
        raise BadValue(
            "--prune-experts or --prune-width", "with dispatch", "with any other decoder"
        )
    folder, device = checkpoint_folder(args.model), device_of(args.device)
    most = max_memory(options, device)
    parent = args.offload_folder or Path(tempfile.gettempdir())
    left_over = _size_of(folder) - sum(most.values())
    if left_over > 0:
        check_disk(parent, left_over)
    from transformers import AutoModelForCausalLM

    with offload_folder(parent) as offloaded:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=args.dtype,
            device_map="auto",
            max_memory=most,
            offload_folder=str(offloaded),
        ).eval()
        places, index = count_weights(model)
        check_held(places, most)
        if places.disk_bytes:
            check_disk(parent, 0)
        files = keep_open(index, offloaded)
    details: dict[str, str | int | float] = {
        "decoder": "dispatch",
        "device": device,
        "dtype": str(model.dtype),
        "device_memory_bytes": places.device_peak_bytes,
        "host_weight_bytes": places.host_bytes,
        "disk_weight_bytes": places.disk_bytes,
        "largest_module_bytes": places.largest_bytes,
    }
    if places.disk_bytes:
        details["offload_filesystem"] = filesystem_of(parent)
    decoder = DispatchDecoder(
        model,
        eos_of(model.config),
        args.max_batch,
        details,
        recorder_of(model, args),
        places=places,
        execution=device,
        files=files,
    )
    return Loaded(decoder, load_text(folder))


def max_memory(options: DispatchOptions, device: str) -> dict[int | str, int]:
    """Return accelerate's `max_memory` in bytes: what was asked, else what is free.

    On a CPU the host's memory is the device's, and the rest is on disk.
    """
    for name, value in (("--gpu-bytes", options.gpu_bytes), ("--cpu-bytes", options.cpu_bytes)):
        if value is not None and not value > 0:
            raise BadValue(name, value, "above 0")
    free = psutil.virtual_memory().available
    host: dict[int | str, int] = {"cpu": int(options.cpu_bytes or free)}
    if device == "cpu":
        if options.gpu_bytes is not None:
            allowed = "cpu=SIZE alone on a CPU: its memory is the device's, the rest is on disk"
            raise BadValue("technique accelerate-offload", "gpu=SIZE", allowed)
        return host
    import torch

    number = int(device.partition(":")[2] or 0)
    free_gpu = GPU_SHARE * torch.cuda.mem_get_info(number)[0]
    return {number: int(options.gpu_bytes or free_gpu), **host}


def check_held(places: Places, most: Mapping[int | str, int]) -> None:
    """Refuse a budget of the device, the first of these, below the largest module brought in.

    accelerate itself does not: it puts all on disk and exceeds the budget pass by pass.
    """
    device, allowed = next(iter(most.items()))
    if places.device_peak_bytes > allowed:
        name = "cpu" if device == "cpu" else "gpu"
        raise BadValue(
            f"knob {name} of accelerate-offload",
            f"{allowed / MIB:.4g} MiB",
            f"{places.device_peak_bytes / MIB:.4g} MiB or more: a layer's experts, "
            f"{places.largest_bytes / MIB:.4g} MiB, are brought in at once",
        )


def _size_of(folder: Any) -> int:
    """Bytes of a checkpoint's weights that lie here already; 0 for one of a hub."""
    if not isinstance(folder, Path):
        return 0
    return sum(each.stat().st_size for each in folder.glob("*.safetensors"))
