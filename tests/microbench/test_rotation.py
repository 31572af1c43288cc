"""Weights come from memory, and what does not fit is refused beforehand."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import Infeasible
from catalog.units import MIB
from microbench import rotation
from microbench.device import DeviceInfo, last_level_cache
from microbench.point import Point


def device(free_bytes: int = 2**34, cache_bytes: int = 32 * MIB) -> DeviceInfo:
    return DeviceInfo(
        device="cpu", name="test", memory_bytes=free_bytes, free_bytes=free_bytes,
        cache_bytes=cache_bytes, threads=1,
    )  # fmt: skip


def point(width: int = 512, active: int = 8) -> Point:
    return Point(
        batch=32, hidden=512, intermediate=width, experts=16, active_experts=active, top_k=2,
        dtype="float32",
    )  # fmt: skip


@given(st.integers(64, 4096), st.integers(2, 16), st.integers(1, 512))
def test_a_weight_is_read_again_only_after_four_caches_of_others(
    width: int, active: int, cache_mib: int
) -> None:
    shape = point(width, active)
    count = rotation.places(shape, active, cache_mib * MIB)
    assert count * shape.weight_bytes(active) >= 4 * cache_mib * MIB or (
        count == rotation.MOST_PLACES and rotation.stays_cached(shape, active, cache_mib * MIB)
    )
    assert rotation.pool_experts([(shape, active)], cache_mib * MIB) == 16 + (count - 1) * active


def test_what_does_not_fit_is_refused_with_both_numbers() -> None:
    needed = rotation.needs([point()], [8], device(), packed=True)
    with pytest.raises(Infeasible, match=r"0\.\d GB of weights.*0\.3 GB is free"):
        rotation.share_memory(needed, device(free_bytes=300 * MIB), 1)


def test_sets_of_weights_share_memory_as_far_as_it_goes() -> None:
    listed = [point(256), point(512), point(1024)]
    needed = rotation.needs(listed, [8, 8, 8], device(), packed=False)
    assert [len(share) for share in rotation.share_memory(needed, device(), 1)] == [3]
    most = max(need for _, need in needed)
    room = int((most + 2 * rotation.ceiling_bytes(device())) / rotation.usable(device())) + 1000
    shares = rotation.share_memory(needed, device(free_bytes=room), 1)
    assert sorted(i for share in shares for weights in share for i in weights.points) == [0, 1, 2]
    assert len(shares) > 1


@pytest.mark.parametrize("cache_mib", [32, 300, 1024])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_all_processes_together_hold_half_of_the_free_memory_at_most(
    cache_mib: int, processes: int
) -> None:
    """Whatever last-level cache a machine reports: some report hundreds of MiB."""
    here = device(free_bytes=2**35, cache_bytes=cache_mib * MIB)
    listed = [point(256), point(512), point(1024)]
    needed = rotation.needs(listed, [8, 8, 8], here, packed=True)
    try:
        shares = rotation.share_memory(needed, here, processes)
    except Infeasible:
        return
    assert 0 < processes * rotation.most_held(shares, needed, here) <= 2**35 / 2


@pytest.mark.slow
def test_weights_for_which_memory_has_gone_since_are_not_allocated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    from microbench import measure

    monkeypatch.setattr(measure, "host_memory", lambda: (2**34, 2**20))
    (weights,) = rotation.group([point(512)])
    with pytest.raises(Infeasible, match=r"0\.0 GB is still free"):
        measure.fill(64, weights, "cpu")


def test_only_the_last_level_counts_and_each_cache_once(tmp_path: Path) -> None:
    for cpu in (0, 1, 2, 3):
        for level, size, shared in (
            (2, "512K", str(cpu)),
            (3, "32768K", "0-1" if cpu < 2 else "2-3"),
        ):
            folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{level}"
            folder.mkdir(parents=True)
            (folder / "level").write_text(f"{level}\n")
            (folder / "size").write_text(f"{size}\n")
            (folder / "shared_cpu_list").write_text(f"{shared}\n")
    assert last_level_cache(tmp_path) == 2 * 32 * MIB
    assert last_level_cache(tmp_path / "nothing") == 0
