# Punctual: `make run` starts everything, `make test` runs every test, `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev chromium run test test-recurrence chaos bench check format lock clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/.installed  ## install what running needs into .venv

run: setup  ## start web, scheduler and demo portal; Ctrl-C stops them
	@exec $(BIN)/python launcher.py

test: setup-dev chromium  ## run the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-recurrence: setup-dev  ## compare 210,000 schedules with independent readings of cron
	@$(BIN)/python -m tests.recurrence_full $(ARGS)

chaos: setup-dev  ## run the fault tests at full size: a minute of kills, 2,000 imports
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: setup-dev  ## measure against the schedulers that people know
	@$(BIN)/python -m bench $(ARGS)

check: setup-dev  ## lint, format, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache

format: setup-dev  ## format the code
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

lock: setup-dev  ## pin requirements*.in anew into requirements*.txt
	@for f in requirements requirements-dask requirements-browser requirements-s3 requirements-dev; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --upgrade $$f.in -o $$f.txt; done

clean:  ## remove the virtual environment and caches; var/ with your data stays
	@rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache

setup-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Punctual needs Python 3.11 or newer; $(PYTHON) is %d.%d. Try: make $(MAKECMDGOALS) PYTHON=python3.12" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what Punctual needs into $(VENV) (once) ..."
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

chromium:
	@sh tests/find_chromium.sh
