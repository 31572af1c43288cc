"""The numeric types that the formulas take and give."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Real = float | FloatArray
"""A number, or an array of them of any one shape; formulas broadcast."""
