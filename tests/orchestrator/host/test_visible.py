"""Lists of visible devices are read as CUDA reads them."""

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.host.visible import parse_visible

UUIDS = ("GPU-aa1", "GPU-aa2", "GPU-b")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0,1", (0, 1)), ("2,0", (2, 0)), (" 1 , 0 ", (1, 0)), ("", ()), ("-1", ()),
        ("0,-1,2", (0,)), ("0,7,1", (0,)), ("1,1", ()), ("0,,1", (0,)), ("1gpu,2nd", (1, 2)),
        ("+1", (1,)), ("-", ()), ("none", ()), ("GPU-b,GPU-aa1", (2, 0)), ("GPU-aa", ()),
        ("GPU-b,GPU-b", ()), ("GPU-b,GPU-", (2,)), ("GPU-b,0", (2,)), ("0,GPU-b", (0,)),
        ("GPU-b, GPU-aa2", (2, 1)), ("²", ()),
    ],
)  # fmt: skip
def test_a_list_lets_through_what_cuda_shows(text: str, shown: tuple[int, ...]) -> None:
    assert parse_visible(text).ordinals_of(UUIDS) == shown


def test_a_list_of_mig_instances_ends_at_anything_else() -> None:
    listed = parse_visible("MIG-a,MIG-b,0,MIG-c")
    assert listed.asks_mig
    assert listed.names == ("MIG-a", "MIG-b")
    assert parse_visible("MIG-a,MIG-a").repeats


@given(st.text(st.sampled_from("0123456789,+- abGPUMI"), max_size=24))
def test_no_text_breaks_the_reading_nor_shows_a_device_twice(text: str) -> None:
    shown = parse_visible(text).ordinals_of(UUIDS)
    assert len(set(shown)) == len(shown)
    assert all(0 <= ordinal < len(UUIDS) for ordinal in shown)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("text", ["0,1", "0,-1,2", "1,1", "", "1gpu,2a", "GPU-a,GPU-a", "MIG-a,0"])
def test_torch_reads_them_alike(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.cuda import _parse_visible_devices

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    ours = parse_visible(text)
    assert list(ours.ordinals or ours.names) == _parse_visible_devices()
