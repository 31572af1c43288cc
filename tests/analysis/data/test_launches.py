"""Columns that share a launch are one, those that share none stay as they are."""

import numpy as np
import pytest

from analysis.data.launches import mean_of_known, merged

VALUES = np.array([[1.0, np.nan, 3.0, np.inf], [-0.5, 2.0, np.nan, 0.0]])


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [3, 1, 0, 2], [0, 0, 1, 1], [2, 0, 2, 2]])
def test_each_label_has_the_mean_of_what_is_known_of_its_columns(labels: list[int]) -> None:
    found = merged(VALUES, np.array(labels))
    wanted = [
        mean_of_known(VALUES[:, [at for at, own in enumerate(labels) if own == label]], 1)
        for label in dict.fromkeys(labels)
    ]
    np.testing.assert_array_equal(found, np.stack(wanted, axis=1))
