# Everything a person or CI runs. `make help` lists it.
#
# A fresh machine needs Python >= 3.11 and make; PYTHON=... picks the interpreter.

PYTHON ?=
WORKERS ?= 2
VENV   := .venv
COMMA  := ,
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
TESTED := $(VENV)/.ready-test
PINS   := binder/requirements.txt
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint $(PINS)
UV     := $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --constraint $(PINS)
# uv takes seconds for what takes pip a minute. It does not read pip's settings, so it is not asked
# where they name an index; and where it fails pip is asked, which says what is wrong.
THEIRS := $(BIN)/python -m pip config list | grep -q '\.index-url='
install = { ! $(THEIRS) && $(PIP) uv && $(UV) --editable '$(1)'; } 2>/dev/null || $(PIP) --editable '$(1)'
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root,)

.DEFAULT_GOAL := help
.PHONY: help demo test chaos lab bench lint format clean packages programs services services-down

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(READY)  ## run the quickstart notebook as a batch job and leave a report to look at
	@rm -rf out/demo && mkdir -p out/demo
	@$(BIN)/twingraph run notebooks/00_quickstart.ipynb -o out/demo

test: $(TESTED) packages programs  ## set up what the tests need, then run the whole suite
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(TESTED) packages programs  ## kill 200 random graphs again and again, break networks, cancel storms by the clock
	@TWINGRAPH_TESTS_SEEDS=200 $(BIN)/python -m pytest tests/faults/test_resume.py -k random -n $(WORKERS) $(ARGS)
	@TWINGRAPH_TESTS_SEEDS=30 $(BIN)/python -m pytest tests/faults/test_network_seeds.py $(ARGS)
	@TWINGRAPH_TESTS_ALONE=1 $(BIN)/python -m pytest tests/faults/test_apiserver.py $(ARGS)
	@TWINGRAPH_TESTS_SOON=10 $(BIN)/python -m pytest tests/faults/test_storms.py $(ARGS)

lab: $(READY)  ## open JupyterLab on the quickstart notebook
	@$(BIN)/jupyter lab $(AS_ROOT) notebooks/00_quickstart.ipynb

bench: $(TESTED)  ## measure against bare asyncio, threads and papermill
	@$(BIN)/python -m tests.bench $(ARGS)

services: $(TESTED) packages programs  ## start what tests run against, and leave it up (ARGS="docker redis")
	@$(BIN)/python -m tests.services up $(ARGS)

services-down:  ## stop the services of the tests
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m tests.services down $(ARGS); fi

lint: $(TESTED)  ## ruff check, ruff format --check, mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(TESTED)  ## let ruff put imports and layout right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: services-down  ## remove all that make has made, .venv too
	@rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- set-up -------------------------------------------------------------------------------------

# bin/pip is the last thing that venv writes: a venv that was interrupted has none.
$(BIN)/pip:
	@found=; \
	for each in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11); do \
	  if "$$each" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then found="$$each"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python >= 3.11 with venv found (looked for: $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11))." >&2; \
	  echo "Install one (on Debian: apt-get install python3 python3-venv), or say where: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	rm -rf $(VENV) && "$$found" -m venv $(VENV)

$(READY): pyproject.toml $(PINS) | $(BIN)/pip
	@echo "Installing twingraph-nb and the tested set of $(PINS)"
	@$(call install,.[lab])
	@touch $@

$(TESTED): pyproject.toml $(PINS) | $(BIN)/pip
	@echo "Installing twingraph-nb, the tested set of $(PINS), and what the tests need"
	@$(call install,.[lab$(COMMA)test])
	@touch $(READY) $@

# Debian packages of the tests: a browser, an engine for containers, brokers. Only asked for when
# one is missing.
packages:
	@missing=; \
	command -v dpkg >/dev/null || { echo "Not a Debian system: the tests need $$(xargs < binder/apt.txt)."; exit 0; }; \
	for each in $$(cat binder/apt.txt); do \
	  dpkg-query -W -f '$${Status}' $$each 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$each"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=; \
	elif sudo -n true 2>/dev/null; then as_root="sudo"; \
	else echo "The tests need Debian packages: sudo apt-get install$$missing"; exit 0; fi; \
	echo "Installing Debian packages:$$missing"; \
	$$as_root apt-get update -qq && \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null

# What takes minutes the first time on a machine must not happen while a test is timed.
programs: $(TESTED) packages
	@$(BIN)/python -m tests.services.kubernetes_programs
