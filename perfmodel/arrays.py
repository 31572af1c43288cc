"""The numeric types that the formulas take and give."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Real = float | FloatArray
"""A number, or an array of them of any one shape; formulas broadcast."""
