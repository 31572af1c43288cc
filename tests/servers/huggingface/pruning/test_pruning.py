"""Experts and width cut out of real models: what goes, what is held, what is computed then."""

from pathlib import Path
from typing import Any

import pytest

from catalog.errors import BadValue
from servers.huggingface.pruning.options import PruneOptions
from tests.needs import needs_transformers
from tests.servers.huggingface.quant.test_quant import FAMILIES, loaded, logits, tiny_model

pytestmark = [pytest.mark.slow, needs_transformers]
KEPT = (1, 2, 4, 5, 7)


def blocks(model: Any) -> list[Any]:
    return [layer.mlp for layer in model.model.layers]


def never_route_to(gate: Any, dropped: list[int], *, normalised: bool) -> None:
    """A router in the words of the papers, blind to some experts."""
    import torch

    def route(hidden: Any) -> Any:
        scores = hidden.reshape(-1, hidden.shape[-1]) @ gate.weight.T
        scores[:, dropped] = -torch.inf
        values, chosen = scores.float().softmax(-1).topk(gate.top_k)
        return scores, values / values.sum(-1, keepdim=True) if normalised else values, chosen

    gate.forward = route


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_computes_as_the_whole_model_whose_routers_never_choose_the_rest(
    family: str,
) -> None:
    import torch

    from servers.huggingface.pruning.install import keep_experts

    whole, cut = (tiny_model(family, **FAMILIES[family]) for _ in range(2))
    dropped = [expert for expert in range(8) if expert not in KEPT]
    for there, here in zip(blocks(whole), blocks(cut), strict=True):
        never_route_to(there.gate, dropped, normalised=family == "Mixtral")
        keep_experts(here, torch.tensor(KEPT))
        assert here.experts.down_proj.shape[0] == len(KEPT)
    assert torch.allclose(logits(cut), logits(whole), atol=1e-5)


def test_channels_that_add_nothing_are_those_that_go() -> None:
    import torch

    from servers.huggingface.pruning.install import prune
    from servers.huggingface.text import TextCodec

    model = tiny_model("Mixtral", num_local_experts=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in blocks(model):
            for expert in range(8):
                idle = torch.randperm(64, generator=generator)[:16]
                block.experts.gate_up_proj[expert, idle] = 0
                block.experts.gate_up_proj[expert, 64 + idle] = 0
                block.experts.down_proj[expert][:, idle] = 0
    wanted, before = logits(model), sum(each.nbytes for each in model.parameters())
    figures = prune(model, PruneOptions(width=0.25), TextCodec())
    assert torch.allclose(logits(model), wanted, atol=1e-5)
    gone = before - sum(each.nbytes for each in model.parameters())
    assert gone == 2 * 8 * 3 * 128 * 16 * 4  # layers, experts, matrices, H, channels, bytes
    assert figures == {"pruned_share": pytest.approx(gone / before), "expert_width": 48}


def test_experts_go_by_how_often_the_whole_model_s_routers_chose_them_or_how_strongly() -> None:
    import torch

    from servers.huggingface.pruning.install import kept_experts

    model = tiny_model("Mixtral", num_local_experts=8)
    windows = torch.arange(96).reshape(2, 48) * 11 % 512
    with torch.inference_mode():
        scores = model(windows, output_router_logits=True).router_logits
    for by in ("use", "weight", "router"):
        options = PruneOptions(experts=0.4, by=by)
        found = kept_experts(model, blocks(model), options, windows if options.counted else None)
        for layer, kept in enumerate(found):
            values, chosen = scores[layer].softmax(-1).topk(2)
            each = torch.nn.functional.one_hot(chosen, 8).double()
            share = (values / values.sum(-1, keepdim=True))[..., None]
            rows = blocks(model)[layer].gate.weight.norm(dim=1)
            wanted = {"use": each.sum((0, 1)), "weight": (each * share).sum((0, 1)), "router": rows}
            best = wanted[by].detach().topk(5).indices
            assert kept.tolist() == best.sort().values.tolist(), (by, layer)


def test_a_router_with_more_than_a_matrix_is_not_cut_in_half() -> None:
    import transformers

    from servers.huggingface.pruning.install import blocks_of

    with pytest.raises(BadValue, match=r"GptOssForCausalLM.*a plain router"):
        blocks_of(tiny_model("GptOss", num_local_experts=8, head_dim=32))
    config = transformers.DeepseekV3Config(
        hidden_size=64, intermediate_size=64, moe_intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8, n_group=2,
        num_experts_per_tok=2, first_k_dense_replace=1, vocab_size=64, q_lora_rank=16,
        kv_lora_rank=16,
    )  # fmt: skip
    with pytest.raises(BadValue, match=r"DeepseekV3ForCausalLM.*a plain router"):
        blocks_of(transformers.DeepseekV3ForCausalLM(config))


def test_a_pruned_model_is_served_offloaded_and_quantised_too(tmp_path: Path) -> None:
    import torch

    text = tmp_path / "text.txt"
    text.write_text("Which experts does this use? " * 40)
    words = ("--prune-experts", "0.5", "--prune-text", f"{text}")
    plain = loaded("causal", "tiny-mixtral", *words).decoder
    offloaded = loaded("offload", "tiny-mixtral", *words, "--resident", "2").decoder
    prompt = torch.arange(40)[None] * 7 % 500
    with torch.inference_mode():
        assert offloaded.model(prompt).logits.equal(plain.model(prompt).logits)
    expert, router = 3 * 128 * 64 * 4, 128 * 4
    held = [each.details["device_memory_bytes"] for each in (plain, offloaded)]
    assert held[0] == 2_501_120 - 2 * 4 * (expert + router)
    assert held[1] == held[0] - 2 * 2 * expert  # two of four reside in each layer
    assert plain.details["experts_held"] == 4
    with pytest.raises(BadValue, match="up to the 4 experts of a layer"):
        loaded("offload", "tiny-mixtral", *words, "--resident", "5")
