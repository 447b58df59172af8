# `make demo` and `make test` are the two commands. Each installs what it needs, from the hash-pinned sets in
# requirements/, into .venv; a second call installs nothing. PYTHON=/path/to/python3.12 overrides the search.

.DEFAULT_GOAL := help
.PHONY: help demo test tpu fleet env lint lock clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
RUN := $(VENV)/bin/python
TEST_WORKERS ?= 2
TEST_FLAGS ?=

help:  ## print this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

# The full set contains the demo's: an environment built for the tests also serves the demo.
demo: $(if $(wildcard $(VENV)/.full),$(VENV)/.full,$(VENV)/.demo)  ## logs to law to report: demo/report.html
	@$(RUN) -m experiments.demo --workdir=demo

test: $(VENV)/.full  ## run the test suite
	@mkdir -p build
	@JAX_COMPILATION_CACHE_DIR=$(CURDIR)/build/jax-cache $(RUN) -m pytest -n $(TEST_WORKERS) \
	  --dist worksteal $(TEST_FLAGS)

# libtpu compiles for TPUs without one. It stays out of .venv: JAX would look for a TPU in every program.
LIBTPU := build/libtpu
tpu: $(VENV)/.full $(LIBTPU)/.done  ## the tests of TPU planning, with libtpu (0.6 GB, Linux)
	@PYTHONPATH=$(LIBTPU) $(RUN) -m pytest -rs --durations=3 tests/scaling/planning/test_slices.py tests/scaling/test_plan.py

# Flower needs older packages than the rest, so that it has an environment of its own.
FLEET := build/fleet
fleet: $(FLEET)/.done  ## a fleet of processes over Flower, with TLS and authenticated nodes
	@$(FLEET)/bin/python -m pytest -rs --durations=1 tests/federated/test_flower.py

env: $(VENV)/.full  ## build the full environment in .venv

lint: $(VENV)/.full  ## ruff and mypy
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy

clean:  ## remove the demo's output and every cache (keeps .venv)
	rm -rf demo build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

define FIND_PYTHON
python=; \
for candidate in $(PYTHON) python3.12 python3 python "$$HOME"/.pyenv/versions/3.12*/bin/python; do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then \
    python=$$candidate; break; \
  fi; \
done; \
if [ -z "$$python" ]; then \
  echo "No Python 3.12 found: install it, or name it with PYTHON=/path/to/python3.12" >&2; exit 2; \
fi
endef

# Wheels only, nothing resolved, every file checked against its hash. promise, which exists as source only,
# is built with the pinned setuptools instead of whatever is newest.
$(VENV)/.demo: requirements/build.txt requirements/demo.txt
$(VENV)/.full: requirements/build.txt requirements/test.txt
$(FLEET)/.done: VENV := $(FLEET)
$(FLEET)/.done: RUN := $(FLEET)/bin/python
$(FLEET)/.done: requirements/build.txt requirements/fleet.txt
$(VENV)/.demo $(VENV)/.full $(FLEET)/.done:
	@$(FIND_PYTHON); start=$$SECONDS; quiet=-q; if [ -t 1 ]; then quiet=; fi; \
	wheels="--only-binary :all: --no-binary promise --no-binary connection-pool --no-build-isolation --no-deps --require-hashes"; \
	echo "Installing $(lastword $^) into $(VENV) (under 4 GB)"; \
	if command -v uv >/dev/null; then \
	  $(RUN) -c '' 2>/dev/null || uv venv $$quiet --clear --no-python-downloads --python "$$python" $(VENV); \
	  install="uv pip install --python $(RUN)"; \
	else \
	  $(RUN) -c '' 2>/dev/null || "$$python" -m venv --clear --without-pip $(VENV); \
	  install="$$python -m pip --python $(RUN) --disable-pip-version-check --no-input install --no-compile"; \
	fi; \
	for set in $^; do $$install $$quiet $$wheels -r "$$set"; done; \
	echo $$((SECONDS - start)) >$@; echo "Installed in $$(cat $@) s"

$(LIBTPU)/.done: requirements/tpu.txt
	@$(FIND_PYTHON); start=$$SECONDS; rm -rf $(LIBTPU); \
	if command -v uv >/dev/null; then install="uv pip install -q --python $$python"; \
	else install="$$python -m pip --disable-pip-version-check --no-input -q install --no-compile"; fi; \
	$$install --only-binary :all: --no-deps --require-hashes --target $(LIBTPU) -r $<; \
	echo $$((SECONDS - start)) >$@; echo "Installed libtpu in $$(cat $@) s"

# The test set is solved first and holds the others to its versions. LOCK_FLAGS=--upgrade moves the pins.
LOCK_FLAGS ?=
COMPILE = uv pip compile -q --python-version 3.12 --generate-hashes --no-emit-index-url --no-header $(LOCK_FLAGS)
lock:  ## write requirements/*.txt again from pyproject.toml (needs uv)
	$(COMPILE) --group build --universal -o requirements/build.txt
	$(COMPILE) --group tpu -o requirements/tpu.txt
	$(COMPILE) pyproject.toml --universal --extra sim --extra logs --extra board --extra sweeps --extra onnx --extra export --extra updates --extra privacy --extra dev -o requirements/test.txt
	$(COMPILE) pyproject.toml --universal --extra sim --extra sweeps --extra onnx -c requirements/test.txt -o requirements/demo.txt
	$(COMPILE) pyproject.toml --universal -c requirements/test.txt -o requirements/base.txt
	@for extra in clouds sweeps; do \
	  echo "$(COMPILE) pyproject.toml --extra $$extra ..."; \
	  $(COMPILE) pyproject.toml --extra $$extra -c requirements/test.txt -o requirements/$$extra.txt; \
	done
	@for extra in bench export; do \
	  echo "$(COMPILE) pyproject.toml --extra onnx --extra $$extra ..."; \
	  $(COMPILE) pyproject.toml --extra onnx --extra $$extra -c requirements/test.txt -o requirements/$$extra.txt; \
	done
	$(COMPILE) pyproject.toml --extra fleet -o requirements/fleet.txt  # flwr needs an older rich and protobuf
