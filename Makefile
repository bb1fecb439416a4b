# Each target works alone on a fresh clone; all that it needs is git, make and Python 3.11 to 3.13.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
HOME_DIR ?= .demo
CLIENTS := $(patsubst tests/clients/%.txt,.clients/%,$(wildcard tests/clients/*.txt))

.DEFAULT_GOAL := help
.PHONY: help setup clients demo serve test check docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp  ## make .venv with all that tests need

clients: $(CLIENTS:%=%/.stamp)  ## make .clients: SageMaker SDKs and S3 libraries that tests run, an environment for each

demo: $(VENV)/.base  ## run an AutoML job on real data, deploy the best candidate, predict
	$(BIN)/pilothouse demo --home $(HOME_DIR)

serve: $(VENV)/.base  ## start a server; its state is in ~/.local/share/pilothouse
	$(BIN)/pilothouse serve

test: setup clients  ## run the whole suite
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup  ## ruff, mypy, import-linter and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

docs: $(VENV)/.base  ## write the reference pages from the code
	$(BIN)/python -m docs.generate

clean:  ## remove .venv, .clients, the demo's home and caches
	rm -rf $(VENV) .clients $(HOME_DIR) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist

$(VENV)/.stamp: $(VENV)/.base  # PyTorch and what else the tests want
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Pilothouse needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	  exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "The virtual environment could not be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.clients/%/.stamp: tests/clients/%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@
