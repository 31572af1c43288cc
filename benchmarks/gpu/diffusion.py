"""The diffusion pair, dense against experts looped over and grouped, with seeded weights."""

import functools
import gc
from collections.abc import Iterator

import torch
from clock import Setting, median_s
from table import Table

from catalog.model_table import MODELS
from catalog.models import Model
from catalog.units import MS_PER_S
from diffusion_study.depth import DENSE, MOE, PUBLISHED_RATIO
from diffusion_study.measure import operations_of_pass
from servers.huggingface.diffusion.backbone import Backbone
from servers.huggingface.diffusion.experts import use
from servers.huggingface.diffusion.options import NO_EXPERTS, ExpertsImplementation
from servers.huggingface.diffusion.seeded import build

PROMPT = 32
LENGTHS = (64, 128, 256)
CENTRE = 128
PUBLISHED_MS = {DENSE: 40.6, MOE: 399.0}
"""A pass at the study's sizes, from its table VII."""
WAYS: tuple[ExpertsImplementation, ...] = ("loop", "grouped", "batched")
WITHIN_S, SMALL_WITHIN_S = 4.0, 1.0
COLUMNS = ("model", "experts", "tokens", "ms a pass", "operations a pass", "µs an operation",
           "published ms, 128 tokens")  # fmt: skip


def measure(setting: Setting) -> Iterator[Table]:
    """Yield every row as it is measured, then the ratios."""
    names = ("tiny-llada", "tiny-llada-moe") if setting.small else (DENSE, MOE)
    passes: dict[tuple[str, int], float] = {}
    for name in names:
        yield from _measured(MODELS[name], setting, passes)
        gc.collect()  # the next model has its room
        if setting.device != "cpu":
            torch.cuda.empty_cache()
    yield _ratios(passes)


def _measured(
    model: Model, setting: Setting, passes: dict[tuple[str, int], float]
) -> Iterator[Table]:
    title = f"Forward passes of {model.name}'s shape, prompt {PROMPT}"
    for way, length, seconds, operations in _passes(_built(model, setting), model, setting):
        passes[way, length] = seconds
        as_published = length == CENTRE and way in (NO_EXPERTS, "loop")
        published = PUBLISHED_MS.get(model.name) if as_published else None
        cost_us = seconds / operations * 1e6
        row = (model.name, way, length, seconds * MS_PER_S, operations, cost_us, published)
        yield Table(title, COLUMNS, (row,))


def _ratios(passes: dict[tuple[str, int], float]) -> Table:
    rows = tuple(
        (length, *(passes[way, length] / passes[NO_EXPERTS, length] for way in WAYS))
        for length in LENGTHS
    )
    note = f"the study reports {PUBLISHED_RATIO} and calls it architectural"
    return Table("Mixture against dense, times of a pass", ("tokens", *WAYS), rows, (note,))


def _passes(
    backbone: Backbone, model: Model, setting: Setting
) -> Iterator[tuple[str, int, float, int]]:
    """Yield how experts were computed, the tokens, seconds of a pass and its operations."""
    prompt = list(range(1, PROMPT + 1))
    for way in WAYS if model.experts else (NO_EXPERTS,):
        if model.experts:
            use(backbone.model.config, way)  # type: ignore[arg-type]
        for length in LENGTHS:
            one_pass = functools.partial(_pass, backbone, length)
            within_s = SMALL_WITHIN_S if setting.small else WITHIN_S
            seconds = median_s(one_pass, setting.device, within_s=within_s)
            yield way, length, seconds, operations_of_pass(backbone, prompt, length)


def _built(model: Model, setting: Setting) -> Backbone:
    """Seeded weights, made on the device itself: eight billion would take minutes elsewhere."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(setting.dtype)
    try:
        with torch.device(setting.device):
            return Backbone(build(model).to(setting.device, setting.dtype), model.vocab - 1)
    finally:
        torch.set_default_dtype(before)


def _pass(backbone: Backbone, length: int) -> None:
    total = PROMPT + length
    device = backbone.model.device
    ids = torch.full((1, total), backbone.mask_id, device=device)
    ids[:, :PROMPT] = torch.arange(1, PROMPT + 1, device=device)
    with torch.inference_mode():
        logits = backbone.logits(ids, range(PROMPT, total), window=None, cache=None)
        logits.argmax(dim=-1).cpu()  # as a decoder does after every pass
