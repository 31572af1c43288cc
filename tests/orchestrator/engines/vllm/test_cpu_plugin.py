"""What the plugin adds to vLLM on the CPU, apart from vLLM."""

from types import SimpleNamespace
from typing import Any

from orchestrator.engines.vllm.cpu_plugin import with_buffer


def test_a_later_stage_gets_its_buffer_on_first_use_and_keeps_it() -> None:
    made: list[dict[str, Any]] = []

    def make(**asked: Any) -> dict[str, Any]:
        made.append(asked)
        return asked

    runner = SimpleNamespace(
        intermediate_tensors=None,
        max_num_tokens=64,
        model_config=SimpleNamespace(dtype="float32"),
        device="cpu",
        model=SimpleNamespace(make_empty_intermediate_tensors=make),
    )
    gather = with_buffer(lambda self, tokens: (self.intermediate_tensors, tokens))
    wanted = {"batch_size": 64, "dtype": "float32", "device": "cpu"}
    assert gather(runner, 3) == (wanted, 3)
    assert gather(runner, 4) == (wanted, 4)
    assert made == [wanted]
