# One command sets up, one checks. Every target makes what it needs: `make run` works on a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help run test check bench soak figures constraints clean brokers faults

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Handed on, for example: make test PYTEST='-k relay', make figures ONLY='walking skeleton 6', make run REAL=1
PYTEST ?=
ONLY ?=
REAL ?=
SPEED ?=

help: ## say what there is
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z]+):.*## (.*)$$/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(RUN) $(if $(REAL),brokers) ## start the hub, a simulated home, applications and brokers (REAL=1: real ones, SPEED=1: as slow as life)
	@exec $(BIN)/python scripts/run.py $(if $(REAL),--real) $(if $(SPEED),--speed $(SPEED))

test: $(DEV) faults ## run the tests against real brokers (PYTEST='-k name' hands options on)
	@$(BIN)/python -m pytest -n 3 --dist loadfile -m "not soak and not alone" $(PYTEST)
	@$(BIN)/python -m pytest -m "alone and not soak" $(PYTEST)

check: $(DEV) ## style, types, floors, file sizes
	@PATH="$(BIN):$$PATH" scripts/check

bench: $(BENCH) brokers ## run the benchmarks and print their figures (ONLY=name for some)
	@$(BIN)/python scripts/bench.py $(ONLY)

soak: $(DEV) faults ## run the long tests
	@$(BIN)/python -m pytest -m soak --timeout=0 $(PYTEST)

figures: $(BENCH) faults ## measure what was promised, write docs/figures.md (ONLY=pattern for some rows)
	@$(BIN)/python -m scripts.figures $(if $(ONLY),--only "$(ONLY)")

constraints: ## write constraints.txt anew from the newest versions that pyproject.toml allows
	@PYTHON="$(PYTHON)" scripts/update-constraints

clean: ## remove the virtual environment and everything that was made
	@rm -rf $(VENV) build dist run .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests scripts examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"

brokers:
	@scripts/ensure-brokers

faults:
	@scripts/ensure-brokers --with-fault-tools

$(BIN)/python:
	@PYTHON="$(PYTHON)" scripts/make-venv $(VENV)

# What a run needs, which is installed in seconds.
$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the library and the hub into $(VENV)"
	@$(PIP) install -qq -c constraints.txt -e '.[embedded,web]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the library and its development tools into $(VENV)"
	@$(PIP) install -qq -c constraints.txt -e '.[dev]'
	@touch $@

$(BENCH): pyproject.toml constraints.txt | $(DEV)
	@echo "installing what the benchmarks compare with into $(VENV)"
	@$(PIP) install -qq -c constraints.txt -e '.[dev,bench]'
	@touch $@
