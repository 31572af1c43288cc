"""Who gets which token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, UnknownName
from microbench.point import Point
from microbench.routing import RoutingPattern, route, router_weights, touched
from perfmodel.experts import RoutingSkew
from perfmodel.experts import touched as expected_touched


@st.composite
def shapes(draw: st.DrawFn) -> Point:
    active = draw(st.integers(1, 40))
    return Point(
        batch=draw(st.integers(1, 64)),
        hidden=32,
        intermediate=32,
        experts=active + draw(st.integers(0, 8)),
        active_experts=active,
        top_k=draw(st.integers(1, active)),
        dtype="float32",
    )


routings = st.builds(
    RoutingPattern,
    kind=st.sampled_from(["uniform", "random", "zipf"]),
    zipf=st.floats(0, 10),
    seed=st.integers(0, 2**63 - 1),
)


@given(shapes(), routings)
def test_a_token_s_experts_are_distinct_and_active(point: Point, routing: RoutingPattern) -> None:
    ids = route(point, routing)
    assert ids.shape == (point.batch, point.top_k)
    assert all(len(set(row)) == point.top_k for row in ids.tolist())
    assert 0 <= ids.min()
    assert ids.max() < point.active_experts


@given(shapes(), st.integers(0, 100))
def test_uniform_routing_differs_by_one_token_at_most(point: Point, seed: int) -> None:
    ids = route(point, RoutingPattern(seed=seed))
    loads = np.bincount(ids.ravel(), minlength=point.active_experts)
    assert loads.max() - loads.min() <= 1
    assert touched(ids) == min(point.active_experts, point.pairs)


@given(shapes(), routings)
def test_one_seed_gives_one_routing(point: Point, routing: RoutingPattern) -> None:
    assert np.array_equal(route(point, routing), route(point, routing))
    assert np.array_equal(router_weights(point, routing), router_weights(point, routing))


@given(shapes(), routings)
def test_router_weights_are_shares(point: Point, routing: RoutingPattern) -> None:
    weights = router_weights(point, routing)
    assert (weights >= 0).all()
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "zipf"), [("random", 0.0), ("zipf", 1.0), ("zipf", 2.0)])
def test_experts_touched_are_those_the_step_model_expects(kind: str, zipf: float) -> None:
    point = Point(
        batch=12, hidden=32, intermediate=32, experts=32, active_experts=32, top_k=2,
        dtype="float32",
    )  # fmt: skip
    drawn = [
        touched(route(point, RoutingPattern(kind=kind, zipf=zipf, seed=s))) for s in range(300)
    ]
    expected = expected_touched(32, 2, 12, routing=RoutingSkew(zipf=zipf))
    assert np.mean(drawn) == pytest.approx(expected, abs=4 * np.std(drawn) / 300**0.5)


def test_unknown_kinds_and_exponents_are_refused() -> None:
    with pytest.raises(UnknownName, match="zipf"):
        RoutingPattern(kind="zip")
    with pytest.raises(BadValue):
        RoutingPattern(kind="zipf", zipf=float("nan"))
