"""How many bits a quantised weight takes, scales counted, by what a config says of it.

Scales: 16 bits a group for integers of compressed-tensors and quark, with a zero point for GPTQ and
AWQ, 32 a block for fp8, 8 for the microscaling and NVIDIA formats. Channel and tensor scales weigh
next to nothing and are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

from catalog.reader.fields import Fields


@dataclass(frozen=True, slots=True)
class Scheme:
    """A data type, and the bits one element of it takes in a checkpoint."""

    dtype: str
    bits: float


PLAIN = {
    "float32": Scheme("float32", 32.0),
    "bfloat16": Scheme("bfloat16", 16.0),
    "float16": Scheme("float16", 16.0),
}
NVFP4, MXFP4, MXFP8 = Scheme("nvfp4", 4.5), Scheme("mxfp4", 4.25), Scheme("fp8", 8.25)
FP8, INT8 = Scheme("fp8", 8.0), Scheme("int8", 8.0)
ALGORITHMS = {
    "FP8": FP8,
    "FP8_PER_CHANNEL_PER_TOKEN": FP8,
    "FP8_PB_WO": Scheme("fp8", 8.0 + 32 / 128**2),
    "FP8_BLOCK_SCALES": Scheme("fp8", 8.0 + 32 / 128**2),
    "MXFP8": MXFP8,
    "NVFP4": NVFP4,
    "W4A16_NVFP4": NVFP4,
    "W4A8_NVFP4_FP8": NVFP4,
    "NVFP4_AWQ": NVFP4,
    "MXFP4": MXFP4,
    "W4A8_MXFP4_FP8": MXFP4,
    "INT8_SQ": INT8,
    "W8A8_SQ_PER_CHANNEL": INT8,
    "W8A16": INT8,
    "W4A16": Scheme("int4", 4.0),
    "W4A16_AWQ": Scheme("int4", 4.125),
    "W4A8_AWQ": Scheme("int4", 4.125),
    "INT4_AWQ": Scheme("int4", 4.125),
}
"""TensorRT Model Optimizer's names."""


def integers(bits: int, group: int | None, *, scale_bits: int) -> Scheme:
    """Return integers with one scale (and zero point, in `scale_bits`) a group of so many."""
    return Scheme(f"int{bits}", bits + (scale_bits / group if group else 0.0))


def algorithm(fields: Fields, key: str = "quant_algo") -> Scheme | None:
    """Return what Model Optimizer's word means; None for one that is not known."""
    return ALGORITHMS.get(fields.text(key).upper())


def by_weights(weights: Fields) -> Scheme | None:
    """Read a description of compressed-tensors or Model Optimizer: bits, kind and group."""
    bits = weights.integer("num_bits", least=1, most=64)
    group = _group(weights)
    kind = weights.text("type", default="int")
    if kind == "int":
        return integers(bits, group, scale_bits=16) if bits <= 8 else None
    if bits == 4:
        return NVFP4 if group == 16 else MXFP4 if group == 32 else None
    if bits == 8:
        return (
            MXFP8 if group == 32 else Scheme("fp8", 8.0 + _block_bits(weights, "block_structure"))
        )
    return PLAIN["bfloat16"] if bits == 16 else None


def _group(weights: Fields) -> int | None:
    size = weights.raw("group_size")
    if size in (None, 0, -1):
        return None
    return weights.integer("group_size")


def _block_bits(fields: Fields, key: str) -> float:
    """Return the bits an element has of a float32 scale for each block."""
    sides = fields.numbers(key)
    if not sides:
        return 0.0
    if len(sides) != 2 or not all(sides):
        raise fields.bad(key, f"got {sides}, allowed: two sizes")
    return 32 / (sides[0] * sides[1])


def _packed(fields: Fields) -> Scheme | None:
    """GPTQ, AWQ, AutoRound: a 16-bit scale and a zero point of the weights' bits a group."""
    bits = fields.integer("bits", "w_bit", "num_bits", default=4, least=1, most=16)
    group = fields.raw("group_size", "q_group_size")
    kind = fields.text("data_type", default="int")
    if kind in ("fp", "fp8") and bits == 8:
        blocks = _block_bits(fields, "group_size") if isinstance(group, list) else 0.0
        return Scheme("fp8", 8.0 + blocks)
    if not kind.startswith("int"):
        return micro_floats(kind, bits)
    size = None if group in (None, 0, -1) else fields.integer("group_size", "q_group_size")
    return integers(bits, size or 128 if group is None else size, scale_bits=16 + bits)


def micro_floats(kind: str, bits: int) -> Scheme | None:
    """Return AutoRound's floats with a scale a few elements, by the word it has for them."""
    if "mx_fp" in kind:
        return {4: MXFP4, 8: MXFP8}.get(bits)
    return NVFP4 if "nv_fp" in kind and bits == 4 else None


def _bitsandbytes(fields: Fields) -> Scheme | None:
    if fields.boolean("load_in_4bit", "_load_in_4bit", default=False):
        double = fields.boolean("bnb_4bit_use_double_quant", default=False)
        # A float32 scale for 64; doubly quantised an 8-bit one, and a float32 for 256 of those.
        return Scheme("int4", 4 + (8 / 64 + 32 / (64 * 256) if double else 32 / 64))
    return INT8 if fields.boolean("load_in_8bit", "_load_in_8bit", default=False) else None


def _hqq(fields: Fields) -> Scheme | None:
    inner = fields.nested("quant_config") or fields
    inner = inner.nested("weight_quant_params") or inner
    if not inner.given("nbits", "bits"):
        return None  # it names kinds of modules, each with its own
    bits = inner.integer("nbits", "bits", most=8)
    group = inner.integer("group_size", default=64)
    return integers(bits, group, scale_bits=32)


def _torchao(fields: Fields) -> Scheme | None:
    if fields.boolean("include_input_output_embeddings", default=False):
        return None  # which of the tables a type then takes in is not said
    named, data = _torchao_type(fields)
    name = named.lower().replace("_", "")
    if "int4" in name:
        return integers(4, data.integer("group_size", default=128), scale_bits=32)
    if "int8" in name and "int4" not in name:
        return INT8
    return FP8 if "float8" in name or "fp8" in name else None


def _torchao_type(fields: Fields) -> tuple[str, Fields]:
    """Return a type's name and its settings, in the old form or the new one."""
    if not fields.is_object("quant_type"):
        return fields.text("quant_type"), fields.nested("quant_type_kwargs") or fields
    inner = fields.nested("quant_type")
    assert inner is not None
    inner = inner.nested("default") or inner
    return inner.text("_type"), inner.nested("_data") or inner


def _quark(fields: Fields) -> Scheme | None:
    whole = fields.nested("global_quant_config")
    if whole is None or not whole.is_object("weight") or fields.raw("layer_type_quant_config"):
        return None  # none, one number in two steps, or others for whole classes of modules
    weight = whole.nested("weight")
    return quark_weight(weight) if weight else None


def quark_weight(weight: Fields) -> Scheme | None:
    dtype, group = weight.text("dtype").lower(), _group(weight)
    if dtype == "fp4":
        return NVFP4 if group == 16 else MXFP4 if group in (32, None) else None
    if dtype.startswith("fp8"):
        return FP8
    bits = {"int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int3": 3, "int2": 2}.get(dtype)
    return integers(bits, group, scale_bits=16) if bits else None


def _fp8(fields: Fields) -> Scheme | None:
    return Scheme("fp8", 8.0 + _block_bits(fields, "weight_block_size"))


def _mlx(fields: Fields) -> Scheme | None:
    """MLX: a 16-bit scale and a 16-bit bias a group, unless it is a microscaling format."""
    mode = fields.text("mode", default="affine")
    if mode != "affine":
        return {"mxfp4": MXFP4, "nvfp4": NVFP4, "mxfp8": MXFP8}.get(mode)
    bits = fields.integer("bits", least=1, most=8)
    return integers(bits, fields.integer("group_size", default=64), scale_bits=32)


METHODS: dict[str, Callable[[Fields], Scheme | None]] = {
    "fp8": _fp8,
    "fbgemm_fp8": lambda _: FP8,
    "gptq": _packed,
    "gptq_marlin": _packed,
    "awq": _packed,
    "awq_marlin": _packed,
    "auto-round": _packed,
    "auto_round": _packed,
    "intel/auto-round": _packed,
    "inc": _packed,
    "bitsandbytes": _bitsandbytes,
    "hqq": _hqq,
    "torchao": _torchao,
    "quark": _quark,
    "modelopt": algorithm,
    "modelopt_fp4": algorithm,
    "modelopt_mixed": algorithm,
    "eetq": lambda _: INT8,
    "mlx": _mlx,
}
