"""Which data type each module of a checkpoint is stored in, from a config's own words."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from catalog.reader.activations import integer_activations
from catalog.reader.cache import AskedCache, asked_cache
from catalog.reader.fields import Fields
from catalog.reader.module_names import ModuleNames
from catalog.reader.schemes import (
    METHODS,
    MXFP4,
    PLAIN,
    Scheme,
    algorithm,
    by_weights,
    integers,
    micro_floats,
    quark_weight,
)

LEFT_OUT = (
    "ignore", "ignored_layers", "ignored_modules", "modules_to_not_convert", "exclude_modules",
    "exclude", "skip_modules", "llm_int8_skip_modules", "modules_to_not_quantize",
)  # fmt: skip
_PLAIN_NAMES = {
    "half": "float16",
    "float": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
}


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How the modules of one checkpoint are stored."""

    plain: Scheme
    """What is not quantised."""
    linear: Scheme | None = None
    """Every projection that no rule names; None keeps it plain."""
    experts: Scheme | None = None
    """Routed experts where they differ from other projections."""
    rules: tuple[tuple[ModuleNames, Scheme], ...] = ()
    left_out: tuple[ModuleNames, ...] = ()
    whole: bool = False
    """Embedding and head are quantised too (MLX)."""
    head: bool = False
    unknown: str = ""
    """What of the config names a type that is not known here; its bytes then are not known."""
    integer_activations: bool = False
    """Activations are rounded to 8-bit integers too."""
    cache: AskedCache | None = None
    """What the file asks of the cache; None where it asks for nothing."""

    def of(self, names: Iterable[str], *, routed: bool = False) -> Scheme:
        """Return how a projection under these names is stored."""
        usual = (self.experts if routed else None) or self.linear or self.plain
        return self._by_name(names) or usual

    def of_table(self, names: Iterable[str], *, head: bool) -> Scheme:
        """Return how the embedding or the head is stored: plain unless something says otherwise."""
        quantised = self.whole or (head and self.head)
        return self._by_name(names) or (self.linear if quantised else None) or self.plain

    def _by_name(self, names: Iterable[str]) -> Scheme | None:
        """Return what is said of these very names; None where nothing is."""
        names = tuple(names)
        if any(each.match(names) for each in self.left_out):
            return self.plain
        return next((scheme for rule, scheme in self.rules if rule.match(names)), None)


def quantisation(fields: Fields, beside: Mapping[str, object] | None) -> Quantisation:
    """Read `quantization_config`, MLX's `quantization`, or NVIDIA's `hf_quant_config.json` beside.

    A method that is not known gives `unknown`, never the type that is computed in.
    """
    plain = _plain(fields)
    if plain is None:
        named = fields.raw("dtype", "torch_dtype")
        return Quantisation(PLAIN["bfloat16"], unknown=f"dtype {named!r}")
    config = fields.nested("quantization_config") or fields.nested("compression_config")
    mlx = fields.nested("quantization")
    if mlx is not None and mlx.given("bits"):
        return _mlx(mlx, plain)
    own_file = config is None and beside is not None
    if own_file and beside is not None:
        outer = Fields(beside, where=f"{fields.where}: hf_quant_config.json")
        config = outer.nested("quantization")
    if config is None:
        return _of_experts(fields, Quantisation(plain))
    found = replace(
        _read(config, plain),
        integer_activations=integer_activations(config),
        cache=asked_cache(config, _inside(config), own_file=own_file),
    )
    return _of_experts(fields, found)


def _plain(fields: Fields) -> Scheme | None:
    """Return the type of what is not quantised; None for one that is no type of weights here."""
    named = fields.text("dtype") or fields.text("torch_dtype") or "bfloat16"
    named = named.removeprefix("torch.")
    return PLAIN.get(_PLAIN_NAMES.get(named, named))


def _of_experts(fields: Fields, found: Quantisation) -> Quantisation:
    """DeepSeek-V4 names the type of its experts outside of the quantisation."""
    named = fields.text("expert_dtype")
    if not named:
        return found
    known = {"fp4": MXFP4, "mxfp4": MXFP4, "fp8": Scheme("fp8", 8.0)}.get(named)
    if known is None:
        return Quantisation(found.plain, unknown=f"expert_dtype {named!r}")
    return replace(found, experts=known)


def _read(config: Fields, plain: Scheme) -> Quantisation:
    method = config.text("quant_method").lower()
    config = _inside(config)
    if not method and config.given("quant_algo"):
        method = "modelopt"
    if not method and isinstance(config.raw("bits"), int):
        return _mlx(config, plain)
    left_out = _left_out(config)
    if method == "mxfp4":
        return Quantisation(plain, experts=MXFP4, left_out=left_out)
    if method == "w4afp8":
        return Quantisation(
            plain, Scheme("fp8", 8.0), integers(4, 128, scale_bits=32), left_out=left_out
        )
    if method.startswith("modelopt") and config.text("quant_algo").upper() == "MIXED_PRECISION":
        return _mixed(config, plain, left_out)
    if method in ("compressed-tensors", "compressed_tensors") or (
        method.startswith("modelopt") and not config.given("quant_algo")
    ):
        return _groups(config, plain, left_out)
    reader = METHODS.get(method)
    scheme = reader(config) if reader else None
    if scheme is None:
        return Quantisation(plain, unknown=_unknown(config, method))
    rules, more = _overrides(config, scheme)
    return Quantisation(
        plain,
        scheme,
        rules=rules,
        left_out=(*left_out, *more),
        head=config.raw("lm_head", "quant_lm_head") is True,
    )


def _inside(config: Fields) -> Fields:
    """Return what Model Optimizer's own file says, where it stands in the config as it is."""
    inner = config.nested("quantization") if config.is_object("quantization") else None
    return inner or config


def _unknown(config: Fields, method: str) -> str:
    detail = config.raw("quant_algo", "quant_type", "bits")
    told = f" ({detail})" if isinstance(detail, str | int) else ""
    return f"quantization_config.quant_method {method or 'missing'!r}{told}"


def _left_out(config: Fields) -> tuple[ModuleNames, ...]:
    return tuple(
        ModuleNames(config, key, config.sequence(key)) for key in LEFT_OUT if config.given(key)
    )


def _mixed(config: Fields, plain: Scheme, left_out: tuple[ModuleNames, ...]) -> Quantisation:
    """Model Optimizer's mixed precision: each quantised module by name with its own algorithm."""
    layers = config.nested("quantized_layers")
    names: dict[Scheme, list[object]] = {}
    if layers is None:
        return Quantisation(plain, unknown="quantization_config.quantized_layers (missing)")
    for name in layers.keys:
        inner = layers.nested(name)
        scheme = algorithm(inner) if inner else None
        if scheme is None:
            return Quantisation(plain, unknown=f"quantized_layers.{name}")
        names.setdefault(scheme, []).append(name)
    rules = tuple(
        (ModuleNames(config, "quantized_layers", each), scheme) for scheme, each in names.items()
    )
    return Quantisation(plain, rules=rules, left_out=left_out)


def _groups(config: Fields, plain: Scheme, left_out: tuple[ModuleNames, ...]) -> Quantisation:
    """compressed-tensors: groups of modules, of which one usually is every `Linear`."""
    groups = config.nested("config_groups")
    if groups is None:
        return Quantisation(plain, unknown="quantization_config.config_groups (missing)")
    linear, rules, unknown = None, [], _left_sparse(config)
    for name in groups.keys:
        scheme, targets, strange = _group(groups, name)
        unknown = unknown or strange
        if scheme is not None and "Linear" in targets:
            linear = scheme
        named = [each for each in targets if each != "Linear"]
        if scheme is not None and named:
            rules.append((ModuleNames(config, "targets", named), scheme))
    if unknown:
        return Quantisation(plain, unknown=unknown)
    return Quantisation(plain, linear, rules=tuple(rules), left_out=left_out)


def _group(groups: Fields, name: str) -> tuple[Scheme | None, list[object], str]:
    """Return a group's scheme, none for activations alone, its modules, and what is not known."""
    group = groups.nested(name) if groups.is_object(name) else None
    if group is None:
        return None, [], f"quantization_config.config_groups.{name}"
    weights = group.nested("weights")
    if weights is None:
        return None, [], ""
    scheme, targets = by_weights(weights), group.sequence("targets") or ["Linear"]
    if scheme is None:
        return None, [], f"quantization_config.config_groups.{name}"
    strange = next((each for each in targets if each != "Linear" and _is_class(each)), None)
    return scheme, targets, f"config_groups.{name}.targets {strange!r}" if strange else ""


def _is_class(target: object) -> bool:
    """Whether a target is a class of modules: which ones those are, no config says."""
    return isinstance(target, str) and target.isidentifier() and target[0].isupper()


def _left_sparse(config: Fields) -> str:
    """Return what says that weights are stored without their zeros; empty where nothing does."""
    inner = config.nested("sparsity_config") if config.is_object("sparsity_config") else None
    for fields in (config, inner):
        named = fields.raw("format") if fields else None
        if isinstance(named, str) and ("24" in named or "sparse" in named):
            return f"quantization_config format {named!r}"
    return ""


def _overrides(
    config: Fields, scheme: Scheme
) -> tuple[tuple[tuple[ModuleNames, Scheme], ...], tuple[ModuleNames, ...]]:
    """Read what single modules have of their own: AutoRound, GPTQModel, quark, torchao."""
    rules, left_out = [], []
    for key in ("extra_config", "dynamic", "layer_quant_config"):
        inner = config.nested(key)
        for name in inner.keys if inner else ():
            kind = config.text("data_type", default="int")
            own = _own(inner, name, scheme, kind) if inner else None
            names = ModuleNames(config, key, [_as_pattern(key, name)])
            if own is None:
                left_out.append(names)
            else:
                rules.append((names, own))
    return tuple(rules), tuple(left_out)


def _as_pattern(key: str, name: str) -> str:
    """GPTQModel's names are regular expressions, AutoRound's where they look like ones."""
    if name.startswith(("+:", "-:", "re:")) or key == "layer_quant_config":
        return name
    expression = key == "dynamic" or re.search(r"[\\^$+|(\[]|\.\*", name) is not None
    return f"re:{name}" if expression else name


def _own(inner: Fields, name: str, scheme: Scheme, kind: str) -> Scheme | None:
    """Return one module's own scheme, of the kind of all; None where it is left out."""
    if inner.raw(name) is False or name.startswith("-:"):
        return None
    setting = inner.nested(name)
    if setting is None:
        return None
    weight = setting.nested("weight")
    if weight is not None:
        return quark_weight(weight)
    bits = setting.integer("bits", default=0, least=0, most=32)
    if bits >= 16:
        return None
    if not bits or not kind.startswith("int"):
        return micro_floats(kind, bits) or scheme
    return integers(bits, setting.integer("group_size", default=128), scale_bits=16 + bits)


def _mlx(config: Fields, plain: Scheme) -> Quantisation:
    """MLX quantises everything but norms; single modules may be left out or have other bits."""
    scheme = METHODS["mlx"](config)
    if scheme is None:
        return Quantisation(plain, unknown=f"quantization.mode {config.text('mode')!r}")
    rules, left_out = [], []
    for name in [key for key in config.keys if "." in key or key == "lm_head"]:
        names = ModuleNames(config, "quantization", [name])
        inner = config.nested(name) if config.is_object(name) else None
        own = METHODS["mlx"](inner) if inner is not None and inner.given("bits") else None
        if inner is None and config.raw(name) is False:
            left_out.append(names)
        elif own is not None:
            rules.append((names, own))
    return Quantisation(plain, scheme, rules=tuple(rules), left_out=tuple(left_out), whole=True)
