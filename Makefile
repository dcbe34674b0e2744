# Everything happens in .venv, made with the machine's own Python (3.11 to 3.13) and pip, from hashed locks.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3 python; do \
	$$each -c '$(FITS)' 2>/dev/null && echo $$each && break; done)
ARGS ?=
LOCK = $(BIN)/uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--annotation-style line --custom-compile-command 'make lock' --no-emit-package sipup-middleware \
	--extra ratelimit --extra cache --extra redis --extra memcached --extra database --extra jobs --extra jobs-postgres --extra cli --extra embedded --group run

.PHONY: help setup demo test check coverage fuzz bench debian lock clean
.DEFAULT_GOAL := help

help:      ## Say what there is to do
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' Makefile | expand -t 12

setup: $(VENV)/.dev-is-ready  ## Install what tests, checks and benches need into .venv

demo: $(VENV)/.run-is-ready  ## Serve the demo on its own PostgreSQL and Valkey; make demo ARGS="--port 9000"
	@$(BIN)/python -m demo_app $(ARGS)

test: setup  ## The whole suite on asyncio, uvloop and trio; make test ARGS="-k lifespan -x"
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --reruns 2 $(ARGS)

check: setup  ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: setup  ## The suite again, with the lines it misses
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report

fuzz: setup  ## The property tests with a hundred times the examples
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile fuzz $(ARGS)

bench: setup  ## Every bench, into bench/results/ and bench/RESULTS.md
	$(BIN)/python -m bench.report $(ARGS)

debian:    ## Debian's servers that some live tests and benches drive, as root; they are skipped without
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet memcached nginx pgbouncer varnish wrk

lock: setup  ## Pin anew: requirements/dev.lock, and requirements/run.lock to the same versions
	$(PIP) install --quiet 'uv>=0.13'
	$(LOCK) --upgrade --group dev --output-file requirements/dev.lock
	$(LOCK) --upgrade --constraint requirements/dev.lock --output-file requirements/run.lock

clean:     ## Remove .venv and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage build dist

$(VENV)/.dev-is-ready: requirements/dev.lock pyproject.toml
	$(VENV_EXISTS)
	@echo "Installing requirements/dev.lock into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run-is-ready

$(VENV)/.run-is-ready: requirements/run.lock pyproject.toml
	$(VENV_EXISTS)
	@echo "Installing requirements/run.lock into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/run.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Debian parts `venv` from its pip: there the machine's own pip puts one in.
define VENV_EXISTS
@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none was found." >&2; exit 1; }
@$(BIN)/python -c '$(FITS)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) \
	&& $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
endef
