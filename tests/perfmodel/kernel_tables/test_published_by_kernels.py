"""Estimates by the kernels that AIConfigurator measured, where its package is installed."""

import numpy as np
import pytest

from perfmodel.constants import VLLM_2026_KERNELS, beside_kernels
from perfmodel.kernel_tables.source import INSTALLED, kernel_tables
from perfmodel.known_error import KNOWN_ERRORS
from perfmodel.published import FIGURES, log_errors, point_kernels, published_points
from tests.needs import needs_kernel_tables

pytestmark = [pytest.mark.slow, needs_kernel_tables]


def test_a_sample_of_points_is_as_near_as_is_told() -> None:
    tables, known = kernel_tables(INSTALLED), KNOWN_ERRORS[beside_kernels(VLLM_2026_KERNELS)]
    ordered = sorted(published_points(), key=lambda point: point.concurrency * point.output_len)
    few = [each for each in ordered[::6] if point_kernels(each, tables).experts is not None]
    assert len(few) >= 30
    assert {point.gpu for point in few} == known.gpus
    for name, column in zip(FIGURES, log_errors(few, VLLM_2026_KERNELS, tables).T, strict=True):
        found = np.abs(column[~np.isnan(column)])
        assert np.exp(np.quantile(found, 0.5)) <= known.typical[name] * 1.15
        assert np.mean(found <= np.log(known.nine_of_ten[name])) >= 0.8
