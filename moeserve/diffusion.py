"""A characterisation of diffusion models from what was asked to rows and findings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from catalog.errors import BadValue, UnknownName
from catalog.from_hf import load_model
from catalog.model_table import MODELS
from catalog.models import Model
from orchestrator.devices import devices
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.diffusion.depth import (
    DENSE,
    MOE,
    PUBLISHED_RATIO,
    operations_at_depth,
)
from orchestrator.hfserver.diffusion.findings import (
    Row,
    ratios,
    row_of,
    steps_spread,
    verdict,
    with_ratios,
)
from orchestrator.hfserver.diffusion.grid import Grid
from orchestrator.hfserver.diffusion.load import Source, load_decoder
from orchestrator.hfserver.diffusion.options import (
    DTYPES,
    EXPERTS,
    KV_CACHES,
    Experts,
    KvCache,
)
from orchestrator.hfserver.diffusion.seeded import NAMES
from orchestrator.hfserver.diffusion.study import measure

if TYPE_CHECKING:
    from orchestrator.hfserver.diffusion.decoder import DiffusionDecoder

Listen = Callable[[str], None]
PUBLISHED_SPREAD = 0.02
"""Of tok/s · steps over table VII's steps, dense model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to measure, on which models, and where."""

    models: Sequence[str]
    grid: Grid
    seed: int
    device: str
    dtype: str
    remote_code: bool
    revision: str | None


def choices(flag: str, given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Check names against what exists, without repeats."""
    for name in given:
        if name not in known:
            raise UnknownName(flag, name, known)
    if not given:
        raise BadValue(flag, "", ", ".join(known))
    return tuple(dict.fromkeys(given))


def experts_of(given: Sequence[str]) -> tuple[Experts, ...]:
    return cast(tuple[Experts, ...], choices("--experts", given, EXPERTS))


def kv_caches_of(given: Sequence[str]) -> tuple[KvCache, ...]:
    """Return the caches asked for; what they are compared with comes first."""
    return cast(tuple[KvCache, ...], choices("--kv-cache", ["none", *given], KV_CACHES))


def characterise(asked: Asked, listen: Listen) -> list[Row]:
    """Check everything, then load one model after the other and measure it."""
    _check(asked)
    models = {name: _diffusion_model(name) for name in asked.models}
    found = devices() if asked.device != "cpu" else ()
    for model in models.values():
        held = model if asked.dtype == "auto" else replace(model, weight_dtype=asked.dtype)
        asked.grid.check(held, available_bytes=found[0].memory_bytes if found else None)
    sources = [
        Source(name=_loadable(name, model), revision=asked.revision, remote_code=asked.remote_code)
        for name, model in models.items()
    ]
    require_transformers()
    rows: list[Row] = []
    for source, model in zip(sources, models.values(), strict=True):
        listen(f"{model.name}: loading")
        rows += _measured(source, model, asked, listen)
    return with_ratios(rows)


def _check(asked: Asked) -> None:
    choices("--dtype", [asked.dtype], DTYPES)
    if asked.seed < 0:
        raise BadValue("--seed", asked.seed, "0 or more")
    if asked.remote_code and asked.grid.experts != ("loop",):
        given = ",".join(asked.grid.experts)
        raise BadValue("--experts", given, "loop with --trust-remote-code, which loops by itself")
    if asked.remote_code and asked.grid.kv_caches != ("none",):
        raise BadValue("--kv-cache", asked.grid.kv_caches[1], "none with --trust-remote-code")


def _diffusion_model(name: str) -> Model:
    model = load_model(name)
    if model.kind != "diffusion":
        known = ", ".join(row.name for row in MODELS.values() if row.kind == "diffusion")
        raise BadValue("--model", name, f"a diffusion model: {known}")
    return model


def _loadable(name: str, model: Model) -> str:
    """Return a seeded name, a directory or hub id as given, or the hub id of a catalog name."""
    if model.name in NAMES:
        return model.name
    return name if "/" in name else model.hf_id or name


def _measured(source: Source, model: Model, asked: Asked, listen: Listen) -> list[Row]:
    import torch

    first = next(asked.grid.options(model, asked.grid.points[0]))
    decoder = load_decoder(source, first, device=asked.device, dtype=asked.dtype)
    found = measure(decoder, model, asked.grid, seed=asked.seed, listen=listen)
    setting = {
        "prompt_length": asked.grid.prompt_length,
        "num_runs": asked.grid.repeats,
        "device": _device_name(decoder),
        "dtype": decoder.details["dtype"],
        "threads": torch.get_num_threads(),
        "provenance": "measured",
    }
    return [row_of(model, each, setting) for each in found]


def _device_name(decoder: "DiffusionDecoder") -> str:
    import torch

    device = decoder.backbone.model.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def findings(rows: Sequence[Row]) -> list[str]:
    """Say what the rows show, one sentence each, and last what the published depth implies."""
    told = [
        f"{model}, experts {experts}: tok/s · steps varies by {spread:.1%} over the steps at one "
        f"length (table VII: {PUBLISHED_SPREAD:.0%}); 0 is inverse proportionality"
        for (model, experts), spread in steps_spread(rows).items()
    ]
    found = ratios(rows)
    told += [str(each) for each in found]
    answer = verdict(found)
    if answer:
        told += [answer, _at_published_depth()]
    return told


def _at_published_depth() -> str:
    dense = operations_at_depth(MODELS[DENSE], ("grouped",))["grouped"]
    moe = operations_at_depth(MODELS[MOE], ("loop", "grouped"))
    return (
        f"operations a pass hands to the device, counted at the depth of {DENSE} and {MOE}: dense "
        f"{dense:,}, loop {moe['loop']:,} ({moe['loop'] / dense:.1f} times), grouped "
        f"{moe['grouped']:,} ({moe['grouped'] / dense:.1f} times); the published gap is "
        f"{PUBLISHED_RATIO} times"
    )
