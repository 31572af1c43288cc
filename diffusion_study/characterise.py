"""A characterisation of diffusion models from a request to rows and findings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from catalog.dtypes import with_dtype
from catalog.errors import BadValue, UnknownName
from catalog.from_hf import load_model
from catalog.model_table import MODELS
from catalog.models import Model
from diffusion_study.depth import (
    DENSE,
    MOE,
    PUBLISHED_RATIO,
    operations_at_depth,
)
from diffusion_study.findings import ratios, row_of, steps_spread, verdict, with_ratios
from diffusion_study.grid import DiffusionGrid
from diffusion_study.measure import gathered, measure, runs
from diffusion_study.store import DiffusionStore, DiffusionStudy, answers_of
from orchestrator.host.devices import devices
from orchestrator.host.environment import describe
from orchestrator.results.record import ColumnValue, Row
from servers.huggingface.causal import device_of, require_transformers
from servers.huggingface.diffusion.load import CheckpointSource, load_decoder
from servers.huggingface.diffusion.options import (
    DTYPES,
    EXPERTS,
    KV_CACHES,
    ExpertsImplementation,
    KvCache,
)
from servers.huggingface.diffusion.seeded import NAMES

ProgressCallback = Callable[[str], None]
PUBLISHED_SPREAD = 0.02
"""Of tok/s · steps over table VII's steps, dense model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """What to measure, on which models, and where."""

    models: Sequence[str]
    grid: DiffusionGrid
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


def experts_of(given: Sequence[str]) -> tuple[ExpertsImplementation, ...]:
    return cast(tuple[ExpertsImplementation, ...], choices("--experts", given, EXPERTS))


def kv_caches_of(given: Sequence[str]) -> tuple[KvCache, ...]:
    """Return the caches asked for; what they are compared with comes first."""
    return cast(tuple[KvCache, ...], choices("--kv-cache", ["none", *given], KV_CACHES))


@dataclass(frozen=True, slots=True)
class PlannedStudy:
    """A characterisation that has been checked; nothing is loaded or written yet."""

    request: StudyRequest
    study: DiffusionStudy
    models: Mapping[CheckpointSource, Model]

    @property
    def runs(self) -> int:
        return sum(len(runs(self.request.grid, model)) for model in self.models.values())


def prepare(request: StudyRequest) -> PlannedStudy:
    """Check everything that was asked for, and name the machine."""
    _check(request)
    models = {name: _diffusion_model(name) for name in request.models}
    found = devices() if request.device != "cpu" else ()
    for model in models.values():
        loaded = with_dtype(model, request.dtype) or model
        request.grid.check(loaded, available_bytes=found[0].memory_bytes if found else None)
    sources = {
        CheckpointSource(
            name=_loadable(name, model), revision=request.revision, remote_code=request.remote_code
        ): model
        for name, model in models.items()
    }
    require_transformers()
    return PlannedStudy(request, _study(request, sources), sources)


def characterise(
    planned: PlannedStudy, store: DiffusionStore, on_progress: ProgressCallback
) -> None:
    """Load one model after the other and measure what is missing; each run is kept when it ends."""
    request = planned.request
    with store.opened():
        for source, model in planned.models.items():
            wanted = runs(request.grid, model)
            missing = frozenset(wanted) - store.records(source.name, wanted).keys()
            if not missing:
                continue
            on_progress(f"{model.name}: loading")
            first = next(request.grid.options(model, request.grid.points[0]))
            decoder = load_decoder(source, first, device=request.device, dtype=request.dtype)
            found = measure(
                decoder,
                model,
                request.grid,
                seed=request.seed,
                missing=missing,
                on_progress=on_progress,
            )
            for run, answer in found:
                store.publish(source.name, run, answer, str(decoder.details["dtype"]))


def rows_of(planned: PlannedStudy, store: DiffusionStore) -> tuple[list[Row], int]:
    """Return a row for each configuration with a finished run, and how many runs are finished."""
    rows: list[Row] = []
    finished = 0
    grid, study = planned.request.grid, planned.study
    for source, model in planned.models.items():
        records = store.records(source.name, runs(grid, model))
        finished += len(records)
        for each in gathered(grid, model, answers_of(records)):
            setting: dict[str, ColumnValue] = {
                "prompt_length": grid.prompt_length,
                "num_runs": len(each.answers),
                "device": study.device,
                "dtype": next(r.dtype for run, r in records.items() if run.case == each.case),
                "threads": study.threads,
                "provenance": "measured",
            }
            rows.append(row_of(model, each, setting))
    return with_ratios(rows), finished


def _study(request: StudyRequest, sources: Iterable[CheckpointSource]) -> DiffusionStudy:
    """Say what is measured and on which machine, with its heavy libraries loaded."""
    import torch
    import transformers

    machine, grid = describe(), request.grid
    return DiffusionStudy(
        models=tuple(source.name for source in sources),
        points=tuple(f"{each.sweep} {each.steps}:{each.length}" for each in grid.points),
        experts=grid.experts,
        kv_caches=grid.kv_caches,
        commit_above=grid.commit_above,
        block_length=grid.block_length,
        prompt_length=grid.prompt_length,
        num_runs=grid.repeats,
        seed=request.seed,
        dtype=request.dtype,
        trust_remote_code=request.remote_code,
        revision=request.revision,
        device=_device_name(device_of(request.device)),
        cpu=machine["cpu"],
        cpus=machine["cpus"],
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        transformers=str(transformers.__version__),
    )


def _check(request: StudyRequest) -> None:
    choices("--dtype", [request.dtype], DTYPES)
    if request.seed < 0:
        raise BadValue("--seed", request.seed, "0 or more")
    if request.remote_code and request.grid.experts != ("loop",):
        given = ",".join(request.grid.experts)
        raise BadValue("--experts", given, "loop with --trust-remote-code, which loops by itself")
    if request.remote_code and request.grid.kv_caches != ("none",):
        raise BadValue("--kv-cache", request.grid.kv_caches[1], "none with --trust-remote-code")


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
    sentences = [
        f"{model}, experts {experts}: tok/s · steps varies by {spread:.1%} over the steps at one "
        f"length (table VII: {PUBLISHED_SPREAD:.0%}); 0 is inverse proportionality"
        for (model, experts), spread in steps_spread(rows).items()
    ]
    found = ratios(rows)
    sentences += [str(each) for each in found]
    answer = verdict(found)
    if answer:
        sentences += [answer, _at_published_depth()]
    return sentences


def _at_published_depth() -> str:
    dense = operations_at_depth(MODELS[DENSE], ("grouped",))["grouped"]
    moe = operations_at_depth(MODELS[MOE], ("loop", "grouped"))
    return (
        f"operations a pass hands to the device, counted at the depth of {DENSE} and {MOE}: dense "
        f"{dense:,}, loop {moe['loop']:,} ({moe['loop'] / dense:.1f} times), grouped "
        f"{moe['grouped']:,} ({moe['grouped'] / dense:.1f} times); the published gap is "
        f"{PUBLISHED_RATIO} times"
    )
