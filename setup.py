"""What pyproject.toml cannot say of the build: a compiled module that may be missing."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Where it cannot be built, workloads/reading.py does the same in Python.
        Extension("workloads._native", ["workloads/_native.c"], optional=True, py_limited_api=True)
    ]
)
