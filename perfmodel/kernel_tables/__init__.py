"""Measured kernels in the place of formulas: where a table has the shape, it prices the part."""
