"""One linear layer, quantised onto a device by each library's own means."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from servers.huggingface.quant.options import QuantOptions

OUTLIERS = 6.0
"""Activations beyond this are multiplied in half precision: LLM.int8()'s, and transformers'."""

Quantise = Callable[[nn.Linear, QuantOptions, str], nn.Module]


def by_torchao(linear: nn.Linear, options: QuantOptions, device: str) -> nn.Module:
    from torchao.quantization import quantize_
    from torchao.utils import TorchAOBaseTensor

    linear.to(device)
    quantize_(linear, torchao_config(options))
    # torchao leaves what does not suit it as it is, and only logs that.
    if not isinstance(linear.weight, TorchAOBaseTensor):
        raise RuntimeError(f"torchao left a weight of shape {tuple(linear.weight.shape)} as it is")
    return linear


def torchao_config(options: QuantOptions) -> Any:
    """Weights alone; the settings of the compiler, which is not used here, stay untouched."""
    from torchao import quantization as ao

    if options.scheme == "torchao-int8":
        return ao.Int8WeightOnlyConfig(set_inductor_config=False)
    if options.scheme == "torchao-fp8":
        return ao.Float8WeightOnlyConfig(set_inductor_config=False)
    return ao.Int4WeightOnlyConfig(
        group_size=options.group,
        # The format that needs no library besides torch: its tinygemm kernel.
        int4_packing_format="tile_packed_to_4d",
        set_inductor_config=False,
    )


def by_bitsandbytes(linear: nn.Linear, options: QuantOptions, device: str) -> nn.Module:
    import bitsandbytes as bnb

    # It says at every product that activations are cast to half precision.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    shape = (linear.in_features, linear.out_features, linear.bias is not None)
    weight = linear.weight.detach()
    if options.scheme == "bnb-int8":
        made = bnb.nn.Linear8bitLt(
            *shape, has_fp16_weights=False, threshold=OUTLIERS, device="meta"
        )
        made.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        kind = {
            "quant_type": options.scheme.removeprefix("bnb-"),
            "compress_statistics": False,
        }
        made = bnb.nn.Linear4bit(*shape, compute_dtype=weight.dtype, device="meta", **kind)
        made.weight = bnb.nn.Params4bit(weight, requires_grad=False, module=made, **kind)
    made.bias = linear.bias
    return made.to(device)  # this is what quantises


def by_hqq(linear: nn.Linear, options: QuantOptions, device: str) -> nn.Module:
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    config = BaseQuantizeConfig(nbits=options.bits, group_size=options.group, axis=1)
    return HQQLinear(linear, config, compute_dtype=linear.weight.dtype, device=device)


BY_LIBRARY: Mapping[str, Quantise] = {
    "torchao": by_torchao,
    "bitsandbytes": by_bitsandbytes,
    "hqq": by_hqq,
}
