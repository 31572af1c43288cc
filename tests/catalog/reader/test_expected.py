"""What people serve: 156 configurations in reduced form, against counts made without moeserve.

`configs.jsonl` holds one a line: the keys that bear on size, NVIDIA's quantisation file where there
is one, and the right figures: parameters of transformers' own modules on the meta device, the cache
by a forward pass there, or a formula of one's own. A figure that is not there is vouched for by
nobody.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.counts import most_dtype
from catalog.errors import NotCounted
from catalog.from_hf import model_from_config
from catalog.models import Model

Line = dict[str, Any]
TEXT = Path(__file__).with_name("configs.jsonl").read_text()
LINES: list[Line] = [json.loads(line) for line in TEXT.splitlines()]
CLOSE, CLOSE_BYTES = 0.01, 0.03
FEWEST_COUNTED = 0.92


def read(line: Line) -> Model | None:
    """Read a line's configuration, once in a session: some of them take long."""
    return _read(LINES.index(line))


@functools.cache
def _read(number: int) -> Model | None:
    line = LINES[number]
    try:
        beside = line.get("hf_quant_config")
        return model_from_config(line["config"], name=line["model"], beside=beside)
    except NotCounted:
        return None


def figures(model: Model) -> Iterator[tuple[str, float | str | None]]:
    yield "total_parameters", model.total_params
    yield "active_parameters", model.active_params
    mixers = model.mixers
    growing = sum(n * each.kv_elements for n, each in mixers if each.window is None)
    near = sum(n * each.kv_elements for n, each in mixers if each.window is not None)
    yield "cache_elements_per_token", growing
    yield "windowed_elements_per_token", near
    yield "window", model.window
    yield "state_bytes_per_sequence", 2 * model.state_elements
    yield "index_bytes_per_token", sum(n * each.index_bytes for n, each in mixers)
    yield "weight_bytes", model.held.total
    yield "weight_dtype", most_dtype(model)


@pytest.mark.parametrize("line", LINES, ids=[line["model"] for line in LINES])
def test_a_configuration_is_read_right_or_not_counted(line: Line) -> None:
    model = read(line)
    if model is None:
        return
    assert line["how"] != "refuse"
    for name, found in figures(model):
        right = line["right"].get(name)
        if right is None:
            continue
        close = CLOSE_BYTES if name == "weight_bytes" else CLOSE
        assert found == (right if isinstance(right, str) else pytest.approx(right, rel=close)), name


def test_parameters_of_families_whose_code_was_compared_are_right_but_for_saved_buffers() -> None:
    for line in LINES:
        model = read(line)
        if model is not None and model.counted == "exact" and "total_parameters" in line["right"]:
            right = pytest.approx(line["right"]["total_parameters"], rel=1e-7)
            assert model.total_params == right, line["model"]


def test_few_are_left_uncounted() -> None:
    counted = sum(read(line) is not None for line in LINES)
    assert counted >= FEWEST_COUNTED * len(LINES)
