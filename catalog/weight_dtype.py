"""The data type that published weights are stored in, from a config's own words."""

from catalog.config_fields import Fields

_NAMES = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16", "half": "float16"}
_BITS = {4: "int4", 8: "int8"}


def weight_dtype(fields: Fields) -> str:
    """Return the type of most weights; quantised ones win over the type computed in."""
    plain = fields.text("dtype") or fields.text("torch_dtype") or "bfloat16"
    stored = _NAMES.get(plain.removeprefix("torch."), "bfloat16")
    quantization = fields.nested("quantization_config")
    if quantization is None:
        return stored
    method = quantization.text("quant_method")
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8"
    if method in ("gptq", "awq"):
        return _BITS.get(quantization.integer("bits", default=4), stored)
    return stored


def expert_dtype(fields: Fields) -> str | None:
    """Return "mxfp4" where only the experts are stored so (gpt-oss), else None."""
    quantization = fields.nested("quantization_config")
    if quantization is not None and quantization.text("quant_method") == "mxfp4":
        return "mxfp4"
    return None
