"""Whether a checkpoint's 8-bit integers meet activations of 8 bits, or are widened to 16."""

from catalog.reader.fields import Fields

ALGORITHMS = ("INT8_SQ", "W8A8_SQ_PER_CHANNEL")
"""TensorRT Model Optimizer's SmoothQuant."""


def integer_activations(config: Fields) -> bool:
    """True where the config says so; GPTQ, AWQ, HQQ and the like keep activations in 16 bits."""
    algorithm = config.raw("quant_algo")
    if isinstance(algorithm, str) and algorithm.upper() in ALGORITHMS:
        return True
    if config.raw("load_in_8bit", "_load_in_8bit") is True:
        return True  # LLM.int8()
    return _of_groups(config) or _of_quark(config)


def _of_groups(config: Fields) -> bool:
    """compressed-tensors: the inputs of any group of modules."""
    groups = _object(config, "config_groups")
    each = [_object(groups, name) for name in groups.keys] if groups else []
    inputs = [_object(group, "input_activations") for group in each if group]
    return any(one.raw("type") == "int" and one.raw("num_bits") == 8 for one in inputs if one)


def _of_quark(config: Fields) -> bool:
    whole = _object(config, "global_quant_config")
    inputs = _object(whole, "input_tensors") if whole else None
    return inputs is not None and inputs.raw("dtype") == "int8"


def _object(fields: Fields, key: str) -> Fields | None:
    return fields.nested(key) if fields.is_object(key) else None
