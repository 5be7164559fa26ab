# `make` lists the targets. All is installed into .venv of this folder, but for BlazePose's model files:
# `aa models fetch` keeps them in the user's cache, for all environments.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Override with `make PYTHON=/path/to/python3.13`.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo "$$p" && break; done)

# Package index of a build of PyTorch, as its installation page names it; without, pip's own: on Linux
# that is the build with CUDA, 6.2 GB in .venv, where the one for the CPU takes 2 GB.
TORCH_INDEX ?=

# What the caller's shell points at must not leak in.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_TARGET PIP_PREFIX PIP_USER
export PYTHONNOUSERSITE := 1

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

setup: $(STAMP) ## install the pinned environment into .venv (once)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found" >&2; exit 1; }
	@echo "Installing into $(VENV); this takes a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") \
	  --constraint constraints.txt --editable '.[offline,test,lint,docs]'
	@$(RUN) -m animateanywhere models fetch || true # it says what to do; all else works without
	@touch $@
	@echo "Installed. Next: source $(VENV)/bin/activate, then aa --help"

demo: setup ## learn a bundled person, generate, swap and measure; pictures in runs/demo
	$(RUN) -m animateanywhere demo

test: setup ## run all tests
	$(RUN) -m pytest --numprocesses auto --dist loadfile

lint: setup ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: setup ## build the documentation into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "Built site/. To read it: $(RUN) -m http.server --directory site"
