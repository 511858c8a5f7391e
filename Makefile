# Two commands: `make demo` runs the main job, `make test` sets up and passes every test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Tests wait for much of their time: three of them at once keep two cores busy.
WORKERS ?= 3

# Set in many containers, it would have every process of the tests compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

# Two at a time, the output of each in one piece (GNU Make 4).
BESIDE := $(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.DEFAULT_GOAL := help
.PHONY: help setup demo test collect pytest check lint types walls templates security constraints validate ota-table ota-live bench-ci bench-ci-baseline bench-micro soak scale clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# pip would compile 12,000 modules one after the other; of these, few are ever imported.
SELDOM := /(tests|sympy|networkx|moto|matplotlib|fontTools|mypy|schemathesis|playwright|pip|setuptools)/

# The stamp is newer than what it was made from, or it is made again.
$(VENV)/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fleet-sim needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 -x '$(SELDOM)' $(VENV)/lib || true  # for speed only
	@touch $@

setup: $(VENV)/.stamp  ## create .venv with everything that is pinned

demo: setup  ## 500 vehicles through the whole pipeline on the embedded local AWS, and a report
	$(BIN)/fleet-sim run scenarios/parking_surge.yaml

test:  ## lint, types, import walls, checkov, then every test
	@$(BESIDE) types security lint walls templates collect
	@$(MAKE) --no-print-directory pytest

# One process rewrites the asserts of all test modules, and the others find them in its cache.
collect: setup
	@$(BIN)/python -m pytest --collect-only --quiet | tail -1

pytest: setup  ## every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: lint types walls templates  ## lint, types, import walls, templates

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

walls: setup
	$(BIN)/lint-imports

templates: setup
	$(BIN)/cfn-lint infra/*.yaml

# An environment of its own: checkov demands versions of packages that we use in others.
$(VENV)-checkov/.stamp: constraints-checkov.txt
	$(PYTHON) -m venv $(VENV)-checkov
	$(VENV)-checkov/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r constraints-checkov.txt
	@touch $@

security: $(VENV)-checkov/.stamp  ## checkov over the templates; .checkov.yaml has each exception's reason
	$(VENV)-checkov/bin/checkov --config-file .checkov.yaml --directory infra

constraints: setup  ## resolve the pins anew
	$(BIN)/python -m pip install --quiet uv
	( grep '^#' constraints.txt; $(BIN)/uv pip compile --universal pyproject.toml --all-extras \
	  --python-version 3.11 --fork-strategy fewest --upgrade \
	  --no-emit-index-url --no-header --no-annotate -q ) > constraints.new
	mv constraints.new constraints.txt

validate: setup  ## every check of the models at full sample size; writes docs/validation.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[validate]'
	$(BIN)/python -m fleet_sim.validation --out docs/validation.md

ota-table: setup  ## rehearse every scenarios/ota_*.yaml with 10,000 vehicles; writes the table of docs/ota.md
	$(BIN)/python -m fleet_sim.engine.ota.page docs/ota.md

ota-live: setup  ## run every scenarios/ota_*.yaml over the local AWS, one after another (40 min); writes their tables of docs/ota.md
	$(BIN)/python -m fleet_sim.engine.ota.page docs/ota.md --run reports/ota-$$(date -u +%Y%m%dT%H%M%S)

bench-ci: setup  ## CPU and latency of the pipeline against the committed baseline; exit code 99 when slower
	$(BIN)/fleet-sim bench ci $(BENCH)

bench-ci-baseline: setup  ## measure the baseline anew; commit tests/bench/baseline.json
	$(BIN)/fleet-sim bench ci --write

bench-micro: setup  ## micro-benchmarks of hot paths, by pytest-benchmark
	$(BIN)/python -m pytest tests/bench -m bench -p benchmark --benchmark-only --benchmark-columns=min,median,iqr,ops

soak: setup  ## the long tests
	$(BIN)/python -m pytest -m soak --timeout 7200

scale: setup  ## the large tests
	$(BIN)/python -m pytest -m scale --timeout 7200

clean:  ## remove what was built; reports stay
	rm -rf $(VENV) $(VENV)-checkov .cache .fleet-sim dist build *.egg-info
