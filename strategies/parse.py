"""Layout names: `tp4`, `dp8+ep`, `pp2+tp4`, `dp8+ep[eplb=32]`, and the four short ones."""

import re
from collections.abc import Iterable

import msgspec

from catalog.errors import BadValue, UnknownName
from strategies.knobs import check_knobs
from strategies.layout import ALL, STANDARD, Layout

ALIASES = {"hybrid": "tp+ep", "baseline": "single", "ep+tp": "tp+ep"}
FORM = "single, tp, ep, tp+ep, all, or degrees such as tp4, dp8+ep, tp2+dp4+ep, pp2+tp4"

_LAYOUT = re.compile(r"(?P<base>[^\[\]]*)(?:\[(?P<knobs>[^\[\]]*)\])?")
_AXIS = re.compile(r"(tp|pp|dp)([1-9][0-9]{0,3})")
_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]{0,300}\])")


def parse_layouts(texts: Iterable[str], *, gpus: int | None = None) -> tuple[Layout, ...]:
    """Parse repeated and comma-separated names, `all` among them, without repeats, in order."""
    named = [
        each for name in layout_names(texts) for each in (ALL if name.lower() == "all" else (name,))
    ]
    if not named:
        raise BadValue("strategy", "", FORM)
    return tuple(dict.fromkeys(parse_layout(name, gpus=gpus) for name in named))


def layout_names(texts: Iterable[str]) -> tuple[str, ...]:
    names = (name.strip() for text in texts for name in _COMMA_OUTSIDE_BRACKETS.split(text))
    return tuple(dict.fromkeys(names))


def parse_layout(text: str, *, gpus: int | None = None) -> Layout:
    """Parse one name; `gpus` sets the degree of `tp`, `ep` and `tp+ep`, which leave it open."""
    match = _LAYOUT.fullmatch(text.strip())
    if match is None:
        raise BadValue("strategy", text, FORM)
    base = match["base"].strip().lower()
    base = ALIASES.get(base, base)
    layout = _standard(base, gpus) if base in STANDARD else _explicit(base, text)
    knobs = _knobs(match["knobs"] or "")
    check_knobs(layout, knobs)
    return msgspec.structs.replace(layout, knobs=knobs)


def _standard(name: str, gpus: int | None) -> Layout:
    if gpus is None or name == "single":
        return STANDARD[name]
    if name == "tp+ep":
        if gpus < 4 or gpus % 2:
            raise BadValue("--gpus for tp+ep", gpus, "an even number from 4: tp2 times dp")
        return Layout(tp=2, dp=gpus // 2, ep=True)
    if gpus < 2:
        raise BadValue(f"--gpus for {name}", gpus, "2 or more")
    return Layout(tp=gpus) if name == "tp" else Layout(dp=gpus, ep=True)


def _explicit(base: str, text: str) -> Layout:
    degrees: dict[str, int] = {}
    expert_parallel = False
    for part in base.split("+"):
        axis = _AXIS.fullmatch(part.strip())
        if part.strip() == "ep" and not expert_parallel:
            expert_parallel = True
        elif axis is not None and axis[1] not in degrees:
            degrees[axis[1]] = int(axis[2])
        else:
            known = [*ALL, *ALIASES, "tp4", "dp8+ep", "tp2+dp4+ep", "pp2+tp4", "all"]
            raise UnknownName("strategy", text, known)
    return Layout(
        tp=degrees.get("tp", 1),
        pp=degrees.get("pp", 1),
        dp=degrees.get("dp", 1),
        ep=expert_parallel,
    )


def _knobs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, _, value in pairs:
        if not value.strip():
            raise BadValue("knob of a strategy", name, "name=value, for instance eplb=32")
    named = {name.strip(): value.strip() for name, _, value in pairs}
    if len(named) < len(pairs):
        raise BadValue("knobs of a strategy", text, "each knob once")
    return tuple(sorted(named.items()))
