"""A characterisation of diffusion models from what was asked to rows and findings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from catalog.errors import BadValue, UnknownName
from catalog.from_hf import load_model
from catalog.model_table import MODELS
from catalog.models import Model
from orchestrator.devices import devices
from orchestrator.environment import describe
from orchestrator.hfserver.causal import device_of, require_transformers
from orchestrator.hfserver.diffusion.depth import (
    DENSE,
    MOE,
    PUBLISHED_RATIO,
    operations_at_depth,
)
from orchestrator.hfserver.diffusion.findings import (
    Row,
    Value,
    ratios,
    row_of,
    steps_spread,
    verdict,
    with_ratios,
)
from orchestrator.hfserver.diffusion.grid import Grid
from orchestrator.hfserver.diffusion.kept import Kept, Study, answers_of
from orchestrator.hfserver.diffusion.load import Source, load_decoder
from orchestrator.hfserver.diffusion.options import (
    DTYPES,
    EXPERTS,
    KV_CACHES,
    Experts,
    KvCache,
)
from orchestrator.hfserver.diffusion.seeded import NAMES
from orchestrator.hfserver.diffusion.study import gathered, measure, runs
from orchestrator.told import with_dtype

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


@dataclass(frozen=True, slots=True)
class Planned:
    """A characterisation that has been checked; nothing is loaded or written yet."""

    asked: Asked
    study: Study
    models: Mapping[Source, Model]

    @property
    def runs(self) -> int:
        return sum(len(runs(self.asked.grid, model)) for model in self.models.values())


def prepare(asked: Asked) -> Planned:
    """Check everything that was asked, and name the machine."""
    _check(asked)
    models = {name: _diffusion_model(name) for name in asked.models}
    found = devices() if asked.device != "cpu" else ()
    for model in models.values():
        held = with_dtype(model, asked.dtype) or model
        asked.grid.check(held, available_bytes=found[0].memory_bytes if found else None)
    sources = {
        Source(
            name=_loadable(name, model), revision=asked.revision, remote_code=asked.remote_code
        ): model
        for name, model in models.items()
    }
    require_transformers()
    return Planned(asked, _study(asked, sources), sources)


def characterise(planned: Planned, kept: Kept, listen: Listen) -> None:
    """Load one model after the other and measure what is missing; each run is kept when it ends."""
    asked = planned.asked
    with kept.opened():
        for source, model in planned.models.items():
            wanted = runs(asked.grid, model)
            missing = frozenset(wanted) - kept.records(source.name, wanted).keys()
            if not missing:
                continue
            listen(f"{model.name}: loading")
            first = next(asked.grid.options(model, asked.grid.points[0]))
            decoder = load_decoder(source, first, device=asked.device, dtype=asked.dtype)
            found = measure(
                decoder, model, asked.grid, seed=asked.seed, missing=missing, listen=listen
            )
            for run, answer in found:
                kept.publish(source.name, run, answer, str(decoder.details["dtype"]))


def rows_of(planned: Planned, kept: Kept) -> tuple[list[Row], int]:
    """Return a row for each configuration with a finished run, and how many runs are finished."""
    rows: list[Row] = []
    finished = 0
    grid, study = planned.asked.grid, planned.study
    for source, model in planned.models.items():
        records = kept.records(source.name, runs(grid, model))
        finished += len(records)
        for each in gathered(grid, model, answers_of(records)):
            setting: dict[str, Value] = {
                "prompt_length": grid.prompt_length,
                "num_runs": len(each.answers),
                "device": study.device,
                "dtype": next(r.dtype for run, r in records.items() if run.case == each.case),
                "threads": study.threads,
                "provenance": "measured",
            }
            rows.append(row_of(model, each, setting))
    return with_ratios(rows), finished


def _study(asked: Asked, sources: Iterable[Source]) -> Study:
    """Say what is measured and on which machine, with its heavy libraries loaded."""
    import torch
    import transformers

    machine, grid = describe(), asked.grid
    return Study(
        models=tuple(source.name for source in sources),
        points=tuple(f"{each.sweep} {each.steps}:{each.length}" for each in grid.points),
        experts=grid.experts,
        kv_caches=grid.kv_caches,
        commit_above=grid.commit_above,
        block_length=grid.block_length,
        prompt_length=grid.prompt_length,
        num_runs=grid.repeats,
        seed=asked.seed,
        dtype=asked.dtype,
        trust_remote_code=asked.remote_code,
        revision=asked.revision,
        device=_device_name(device_of(asked.device)),
        cpu=machine["cpu"],
        cpus=machine["cpus"],
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        transformers=str(transformers.__version__),
    )


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


def _device_name(device: str) -> str:
    import torch

    return "CPU" if device == "cpu" else str(torch.cuda.get_device_name(device))


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
