"""Which engine can do a technique, said before anything is loaded."""

from collections.abc import Collection

from catalog.errors import BadValue
from strategies import pruning
from strategies.methods import METHODS
from strategies.technique import NONE, Technique

LABELLED = "endpoint"
"""Where a technique is only a label of what the server does already."""


def refuse_unable(technique: Technique, engine: str) -> None:
    """Raise BadValue, with the engines that can, when this one cannot do the technique."""
    for part in technique.parts:
        able = part.meaning.engines
        if engine not in able:
            here = ", ".join(methods_of(engine))
            way = " or ".join(f"--engine {name}" for name in able if name != LABELLED)
            raise BadValue(
                "--technique",
                technique.name,
                f"with the engine {engine}: {here}; {part.method} needs "
                f"{way or '--endpoint, where it names what the server does'}",
            )
    _check_knobs(technique)


def methods_of(engine: str) -> tuple[str, ...]:
    return (NONE, *(name for name, method in METHODS.items() if engine in method.engines))


def refuse_on_cpu(technique: Technique, flags: Collection[str], engine: str) -> None:
    """Raise BadValue for what has no kernel on this CPU; `flags` are its instructions."""
    for part in technique.parts:
        needs = part.meaning.cpu_needs
        if needs and not set(needs) & set(flags):
            wanted = "a GPU" if needs == ("gpu",) else f"{' or '.join(needs)}, or a GPU"
            usable = [
                name
                for name in methods_of(engine)
                if name == NONE or not (n := METHODS[name].cpu_needs) or set(n) & set(flags)
            ]
            raise BadValue(
                "--technique",
                technique.name,
                f"with {engine} on this CPU: {', '.join(usable)}; {part.method} needs {wanted}",
            )


def refuse_without_gpu(technique: Technique, engine: str) -> None:
    """Raise BadValue for what the engine can only do on a GPU."""
    for part in technique.parts:
        if part.meaning.cpu_needs == ("gpu",):
            usable = [name for name in methods_of(engine) if name not in (NONE, part.method)]
            raise BadValue(
                "--technique",
                technique.name,
                f"with {engine} on this CPU: {', '.join(usable)}; {part.method} needs a GPU",
            )


def _check_knobs(technique: Technique) -> None:
    layers = technique.knobs("layer-offload")
    if layers is not None:
        group, offloaded = int(layers.get("group", "8")), int(layers.get("layers", "2"))
        if offloaded > group:
            raise BadValue("knob layers of layer-offload", offloaded, f"up to group = {group}")
    for part in technique.parts:
        if part.method in pruning.METHODS:
            pruning.check_knobs(part.method, dict(part.values))
    experts = technique.knobs("expert-offload")
    if experts is not None:
        budgets = [name for name in ("resident", "memory", "share") if name in experts]
        if len(budgets) != 1:
            given = " and ".join(budgets) or "no budget"
            raise BadValue(
                "technique expert-offload", given, "one of resident=N, memory=SIZE, share=0.5"
            )
        if "ahead" in experts and int(experts.get("prefetch", "0")) == 0:
            allowed = "beside prefetch=N, whose layers it counts"
            raise BadValue("knob ahead of expert-offload", experts["ahead"], allowed)
