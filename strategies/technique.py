"""A technique as one text: `none`, `fp8+kv-fp8`, `variant:REPO`, `expert-offload:resident=2`."""

from collections.abc import Iterable

import msgspec

from catalog.errors import BadValue, UnknownName, shown
from catalog.models import Model
from catalog.units import size_bytes
from strategies import pruning
from strategies.methods import METHODS, Method

NONE = "none"
ALIASES = {"": NONE, "baseline": NONE, "bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class TechniquePart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One method with its parameters, in the table's order; a bare value is named `value`."""

    method: str
    values: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        texts = [text if key == "value" else f"{key}={text}" for key, text in self.values]
        return ":".join([self.method, *texts])

    @property
    def meaning(self) -> Method:
        return METHODS[self.method]


class Technique(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Methods applied together, in the order written; without any it is `none`."""

    parts: tuple[TechniquePart, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(part.name for part in self.parts) or NONE

    @property
    def vllm_args(self) -> list[str]:
        return [word for part in self.parts for word in part.meaning.vllm_args(dict(part.values))]

    def possible_on(self, engine: str) -> bool:
        return all(engine in part.meaning.engines for part in self.parts)

    @property
    def checkpoint(self) -> str | None:
        """The weights served in place of the model's own."""
        named = ("awq", "gptq", "variant")
        return next((dict(p.values)["value"] for p in self.parts if p.method in named), None)

    @property
    def kv_dtype(self) -> str | None:
        return next((p.meaning.kv_dtype for p in self.parts if p.meaning.kv_dtype), None)

    @property
    def offloaded_bytes(self) -> float:
        """Weights of each GPU that stay in host memory."""
        offload = (dict(p.values)["value"] for p in self.parts if p.method == "cpu-offload")
        return next((size_bytes(text) or 0.0 for text in offload), 0.0)

    @property
    def memory_known(self) -> bool:
        return all(part.meaning.memory_known for part in self.parts)

    @property
    def weights_known(self) -> bool:
        return all(part.meaning.weights_known for part in self.parts)

    def stored(self, model: Model) -> Model:
        """Return the model with what pruning leaves, stored as the technique stores it."""
        for part in self.parts:
            if part.method in pruning.METHODS:
                model = pruning.pruned(model, part.method, dict(part.values))
        # What is quantised was in the named type before, whichever is written first.
        for part in sorted(self.parts, key=lambda part: "quantisation" in part.meaning.changes):
            method = part.meaning
            model = model.held_in(method.weight_dtype, method.expert_dtype)
        return model

    def knobs(self, method: str) -> dict[str, str] | None:
        """Return one method's parameters; None when it is not among the parts."""
        return next((dict(part.values) for part in self.parts if part.method == method), None)


def parse_techniques(texts: Iterable[str]) -> tuple[Technique, ...]:
    """Parse repeated and comma-separated names, without repeats, in order."""
    return tuple(dict.fromkeys(map(parse_technique, technique_names(texts))))


def technique_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Split lists; what a table leaves empty is `none`, what somebody asks for has a name."""
    given = tuple(texts)
    names = tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",")))
    if "" in names:
        raise BadValue("technique", ",".join(given), "names between commas; none is one")
    return names


def parse_technique(text: str) -> Technique:
    """Parse one name; `+` joins methods that change different things."""
    words = [word.strip() for word in text.split("+")]
    if len(words) == 1 and ALIASES.get(words[0].lower(), words[0].lower()) == NONE:
        return Technique()
    parts = tuple(_part(word, text) for word in words)
    taken: dict[str, str] = {}
    for part in parts:
        for changed in part.meaning.changes:
            if changed in taken:
                why = f"one method that changes the {changed}: {taken[changed]} does"
                raise BadValue("technique", text, why)
            taken[changed] = part.name
    return Technique(parts=parts)


def _part(word: str, whole: str) -> TechniquePart:
    name, _, rest = word.partition(":")
    name = ALIASES.get(name.strip().lower(), name.strip().lower())
    method = METHODS.get(name)
    if name == NONE:
        raise BadValue("technique", whole, "none alone, or methods joined by +")
    if method is None:
        raise UnknownName("technique", word, [NONE, *METHODS], hint=f"Given: {shown(whole)}.")
    if method.value is not None:
        if not method.value.accepts(rest.strip()):
            raise BadValue(f"technique {name}", word, f"{name}:VALUE, {method.value.allowed}")
        return TechniquePart(method=name, values=(("value", rest.strip()),))
    return TechniquePart(method=name, values=_knobs(name, method, rest, word))


def _knobs(name: str, method: Method, text: str, word: str) -> tuple[tuple[str, str], ...]:
    """Read `key=value` pairs joined by colons."""
    pairs = [pair.partition("=") for pair in text.split(":") if pair.strip()]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    if len(values) < len(pairs):
        raise BadValue(f"technique {name}", word, "each knob once")
    for key, value in values.items():
        if key not in method.knobs:
            allowed = ", ".join(method.knobs) or f"none: {name} stands alone"
            raise BadValue(f"knob of {name}", key, allowed)
        if not method.knobs[key].accepts(value):
            raise BadValue(f"knob {key} of {name}", value, method.knobs[key].allowed)
    return tuple((key, values[key]) for key in method.knobs if key in values)
