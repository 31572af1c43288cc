"""accelerate's offloading: the same tokens, budgets that hold, and no file left behind."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import BadValue
from catalog.model_table import MODELS
from catalog.temporary import LOCK
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import make_plan
from servers.huggingface.dispatch.folder import (
    PREFIX,
    check_disk,
    keep_open,
    offload_folder,
)
from tests.machine import limit, until
from tests.needs import needs_transformers
from tests.servers.huggingface.offload.test_offload import answers, load

LAYER = 8 * 3 * 128 * 64 * 4
"""A layer's experts of tiny-mixtral."""


def test_a_folder_is_gone_on_every_way_out_and_its_kept_files_are_read_without_names(
    tmp_path: Path,
) -> None:
    own = tmp_path / "checkpoint.safetensors"
    own.write_bytes(b"the model's own")
    with pytest.raises(SystemExit), offload_folder(tmp_path) as folder:
        (folder / "a").write_bytes(b"weights")
        index: dict[str, dict[str, Any]] = {
            "x": {"safetensors_file": str(folder / "a")},
            "y": {"safetensors_file": str(folder / "a")},
            "z": {"safetensors_file": str(own)},
        }
        held = keep_open(index, folder)
        assert [each for each in folder.iterdir() if each.name != LOCK] == []
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(limit(1))  # the signal comes in between
    assert list(tmp_path.iterdir()) == [own]
    assert len(held) == 1
    assert Path(index["x"]["safetensors_file"]).read_bytes() == b"weights"
    assert index["x"] == index["y"]
    assert Path(index["z"]["safetensors_file"]) == own
    os.close(held[0])


def test_memory_and_full_disks_are_no_place_for_weights(tmp_path: Path) -> None:
    check_disk(tmp_path, 1)
    with pytest.raises(BadValue, match=r"1048576\.0 GiB free"):
        check_disk(tmp_path, 2.0**50)
    with pytest.raises(BadValue, match="a folder that exists"):
        check_disk(tmp_path / "none", 1)
    if Path("/dev/shm").is_dir():
        with pytest.raises(BadValue, match=r"is memory \(tmpfs\); --server-arg=--offload-folder"):
            check_disk(Path("/dev/shm"), 1)


@needs_transformers
@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ("accelerate-offload:cpu=700KiB", "knob cpu .*0.75 MiB or more"),
        ("accelerate-offload:gpu=2MiB:cpu=2MiB", "cpu=SIZE alone on a CPU"),
        ("accelerate-offload:cpu=0", "a size such as 8GiB"),
        ("accelerate-offload:disk=1GiB", "knob of accelerate-offload"),
        ("int8+accelerate-offload:cpu=2MiB", "one method that changes the quantisation"),
        ("accelerate-offload+expert-offload:resident=2", "one method that changes the place"),
    ],
)
def test_what_cannot_be_is_refused_before_a_start(technique: str, told: str) -> None:
    study = Experiment(models=("tiny-mixtral",), techniques=(technique,), hardware="CPU")
    with pytest.raises(BadValue, match=told):
        make_plan(study, "transformers")


def loaded(*words: str) -> Any:
    from servers.huggingface.decoder_registry import decoder_module

    module = decoder_module("dispatch")
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    module.add_arguments(parser)
    return module.load(parser.parse_args(["--model", "tiny-mixtral", *words])).decoder


def most_held(decoder: Any) -> list[int]:
    """Note, from now on, the most bytes of weights that are in memory while a module runs."""
    most = [0]

    def watched(module: Any) -> Any:
        run = module._old_forward  # within accelerate's fetching and letting go

        def forward(*args: Any, **kwargs: Any) -> Any:
            here = [each for each in decoder.model.parameters() if each.device.type != "meta"]
            most[0] = max(most[0], sum(each.nbytes for each in here))
            return run(*args, **kwargs)

        return forward

    for module in decoder.model.modules():
        if hasattr(module, "_old_forward"):
            module._old_forward = watched(module)
    return most


@needs_transformers
@pytest.mark.slow
@pytest.mark.parametrize("budget", [LAYER, 1_800_000, 10_000_000])
def test_on_disk_the_tokens_are_the_same_within_the_budget_and_no_file_has_a_name(
    tmp_path: Path, budget: int
) -> None:
    decoder = loaded("--cpu-bytes", str(budget), "--offload-folder", str(tmp_path))
    most = most_held(decoder)
    assert answers(decoder) == answers(load("causal", "tiny-mixtral"))
    assert list(tmp_path.iterdir()) == []
    said, counted = decoder.details, decoder.counters()
    assert most[0] <= said["device_memory_bytes"] <= budget
    on_disk, total = said["disk_weight_bytes"], MODELS["tiny-mixtral"].total_params * 4
    assert counted["disk_read_bytes"] == on_disk * counted["forward_passes"]
    assert (on_disk > 2 * LAYER) == (most[0] > 0) == (budget < total)
    decoder.close()


@needs_transformers
@pytest.mark.slow
def test_a_budget_below_the_largest_module_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"knob cpu of accelerate-offload: got .*0.75 MiB"):
        loaded("--cpu-bytes", "100000", "--offload-folder", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@needs_transformers
@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    place = tmp_path / "place"
    place.mkdir()
    words = [sys.executable, "-m", "servers.huggingface", "dispatch", "--model", "tiny-mixtral"]
    words += ["--cpu-bytes", str(LAYER), "--offload-folder", str(place), "--port", "0"]
    with log.open("w") as file:
        process = subprocess.Popen(words, stderr=file, stdout=file)
    try:
        until(lambda: "disk_weight_bytes" in log.read_text(), limit(60))
        open_files = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert sum(PREFIX in each and "(deleted)" in each for each in open_files) == 4
    finally:
        process.kill()
        process.wait()
    assert list(place.iterdir()) == []
