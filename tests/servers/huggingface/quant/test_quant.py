"""Real libraries quantise tiny models: experts too, in the bytes stated, close to the model."""

import importlib.util
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import BadValue
from servers.huggingface.__main__ import parser_for
from servers.huggingface.decoder_registry import Loaded, decoder_module
from servers.huggingface.quant.options import QuantOptions
from tests.servers.huggingface.tiny_models import tiny_model
from workloads.quality.compare import compare
from workloads.quality.scores import Scores

LIBRARIES = ("torch", "transformers", "torchao", "bitsandbytes", "hqq")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in LIBRARIES),
        reason="needs moeserve[quant]: make quant",
    ),
]
Quality = Callable[[Loaded], Coroutine[Any, Any, Scores]]


def loaded(decoder: str, model: str, *words: str) -> Loaded:
    module = decoder_module(decoder)
    return module.load(parser_for(module).parse_args([decoder, "--model", model, *words]))


FAMILIES: dict[str, dict[str, int]] = {
    "Mixtral": {"num_local_experts": 8},
    "Olmoe": {"num_experts": 8},
    "Qwen2Moe": {
        "num_experts": 8,
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
    },
}


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.arange(64)[None] * 7 % 500).logits


def restored(layer: Any, scheme: str) -> Any:
    """A layer's weights as its library itself reads them back."""
    if scheme.startswith("torchao"):
        return layer.weight.dequantize()
    if scheme == "hqq":
        return layer.dequantize()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def multiplied_in_bf16() -> bool:
    """Whether bitsandbytes' four bits are, as on a CPU that can."""
    from bitsandbytes.functional import has_avx512bf16

    return bool(has_avx512bf16())


def distance(found: Any, wanted: Any) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_taken_apart_give_the_very_bits_of_the_loop_over_experts(family: str) -> None:
    from servers.huggingface.quant.experts import unstack

    model = tiny_model(family, **FAMILIES[family])
    model.config._experts_implementation = "eager"
    wanted = logits(model)
    unstack(model, "none")
    assert logits(model).equal(wanted)


# Bits of a weight; bytes of scale (and zero) a row; the same for each group of 64.
STORED = {
    "torchao-int8": (8, 5, 0),
    "torchao-fp8": (8, 4, 0),
    "bnb-int8": (8, 4, 0),
    "bnb-nf4": (4, 0, 4),
    "bnb-fp4": (4, 0, 4),
    "hqq": (4, 0, 8),
}
LIMITS = {"torchao-int8": 0.1, "torchao-fp8": 0.2, "bnb-int8": 0.1}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scheme", STORED)
def test_experts_and_attention_are_quantised_into_the_bytes_stated(
    scheme: Any, family: str
) -> None:
    from servers.huggingface.quant.experts import unstack
    from servers.huggingface.quant.install import install, linears_of
    from servers.huggingface.quant.tensor_memory import tensor_bytes

    plain, model = (tiny_model(family, **FAMILIES[family]) for _ in range(2))
    wanted, full_bytes = logits(plain), tensor_bytes(plain)
    share = install(
        model, QuantOptions(scheme=scheme, group=64 if scheme == "hqq" else None), device="cpu"
    )
    unstack(plain, scheme)
    layers = linears_of(plain)
    weights = sum(layer.weight.numel() for layer in layers.values())
    rows = sum(layer.out_features for layer in layers.values())
    assert sum("experts" in name.split(".") for name in layers) == 2 * 2 * 8
    assert share == weights / sum(parameter.numel() for parameter in plain.parameters()) > 0.78
    bits, row_bytes, group_bytes = STORED[scheme]
    stored = weights * (bits / 8 + group_bytes / 64) + rows * row_bytes
    assert tensor_bytes(model) == pytest.approx(full_bytes - 4 * weights + stored, rel=0.01)
    if scheme != "bnb-int8":  # it rounds activations too
        for name, layer in layers.items():
            layer.weight.data = restored(model.get_submodule(name), scheme)
    found = logits(model)
    assert 0 < distance(found, wanted) < LIMITS.get(scheme, 0.5)
    # transformers' own layers over the restored weights: nothing else has changed.
    rounded = scheme == "bnb-int8" or (scheme.startswith("bnb") and multiplied_in_bf16())
    assert distance(found, logits(plain)) < (0.1 if rounded else 1e-5)


def test_fewer_bits_take_fewer_bytes_and_lie_further_from_the_model() -> None:
    from servers.huggingface.quant.install import install
    from servers.huggingface.quant.tensor_memory import tensor_bytes

    wanted = logits(tiny_model("Mixtral", **FAMILIES["Mixtral"]))
    sizes, errors = [], []
    for bits in (8, 4, 3, 2):
        model = tiny_model("Mixtral", **FAMILIES["Mixtral"])
        install(model, QuantOptions(scheme="hqq", bits=bits, group=32), device="cpu")
        sizes.append(tensor_bytes(model))
        errors.append(distance(logits(model), wanted))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


def test_bytes_held_count_what_is_shared_once_and_what_is_kept_beside_too() -> None:
    import torch

    from servers.huggingface.quant.tensor_memory import tensor_bytes

    layer = torch.nn.Linear(8, 4)
    assert tensor_bytes(layer) == 4 * (8 * 4 + 4)
    layer.same, layer.kept = layer.weight.detach()[:2], {"old": [torch.zeros(10)]}
    assert tensor_bytes(layer) == 4 * (8 * 4 + 4) + 40


def test_experts_that_would_stay_as_they_are_are_refused() -> None:
    from servers.huggingface.quant.install import install

    biased = tiny_model("GptOss", num_local_experts=8, head_dim=32)
    with pytest.raises(BadValue, match=r"GptOssForCausalLM.*whose experts can be quantised"):
        install(biased, QuantOptions(scheme="bnb-nf4"), device="cpu")
    odd = tiny_model("Mixtral", num_local_experts=8)
    with pytest.raises(BadValue, match="the 64 that the widths of MixtralForCausalLM share: 8"):
        install(odd, QuantOptions(scheme="hqq", group=128), device="cpu")


def test_the_server_refuses_what_it_cannot_load_before_it_does(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="torchao-int4: got 'cpu', allowed: a GPU"):
        loaded("quant", "tiny-mixtral", "--scheme", "torchao-int4", "--device", "cpu")
    config = tiny_model("Mixtral").config
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    config.save_pretrained(tmp_path)
    with pytest.raises(BadValue, match="full precision: this one is quantised already"):
        loaded("quant", str(tmp_path), "--scheme", "bnb-nf4")


BITS = {
    "torchao-int8": 8,
    "torchao-fp8": 8,
    "bnb-int8": 8,
    "bnb-nf4": 4,
    "bnb-fp4": 4,
    "hqq --group 64": 4,
    "hqq --bits 2 --group 64": 2,
}
CHANGES = {8: (0.0, 0.01), 4: (0.0, 0.03), 2: (0.05, 0.5)}
"""Of the perplexity, by bits."""


async def test_perplexity_over_http_stays_close_and_the_divergence_grows_as_bits_go(
    learned: str, quality_over_http: Quality
) -> None:
    full = await quality_over_http(loaded("causal", learned))
    assert full.perplexity < 60
    divergences: dict[int, list[float]] = {bits: [] for bits in CHANGES}
    for words, bits in BITS.items():
        served = loaded("quant", learned, "--scheme", *words.split())
        found = compare(await quality_over_http(served), full)
        least, most = CHANGES[bits]
        assert least < abs(found.perplexity_ratio - 1) < most, words
        assert found.kl_divergence is not None
        divergences[bits].append(found.kl_divergence)
    assert 0 < max(divergences[8]) < min(divergences[4])
    assert max(divergences[4]) < min(divergences[2])


@pytest.mark.gpu
@pytest.mark.parametrize("scheme", [*STORED, "torchao-int4"])
def test_on_a_gpu_experts_are_quantised_there_and_the_logits_stay_close(scheme: Any) -> None:
    import torch

    from servers.huggingface.quant.install import install
    from servers.huggingface.quant.tensor_memory import tensors_of

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    plain, model = (tiny_model("Mixtral", num_local_experts=8).to(torch.bfloat16) for _ in range(2))
    group = {"hqq": 64, "torchao-int4": 32}.get(scheme)
    install(model, QuantOptions(scheme=scheme, group=group), device="cuda")
    # A layer of libraries may keep a table of its own in host memory, never weights.
    assert sum(tensor.numel() for tensor in tensors_of(model) if not tensor.is_cuda) < 1000
    with torch.inference_mode():
        found = model(torch.arange(64, device="cuda")[None] * 7 % 500).logits.cpu()
    assert 0 < distance(found.float(), logits(plain).float()) < 0.6
