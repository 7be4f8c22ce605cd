# `make` alone lists the targets. Every target sets up .venv first when it is missing or out of date.
.DEFAULT_GOAL := help
.PHONY: help setup demo sim-benchmark demo-data pack-data create-data test test-all lint format benchmark wheel clean
SHELL := bash

# The first of these interpreters that exists and is 3.10 to 3.12; set PYTHON=... to choose another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo "$$p" && break; done)
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.lidar_mt_installed

VERSION ?= v1.0-mini
SPLITS ?= train val
RAW ?= data/nuscenes
PACKED ?= data/packed
DEMO ?= demo
# spconv is only there to be compared with, cluster (Ray) and sweep to be tested, deploy (390 MB installed) for the
# parity of the runtimes; `make EXTRAS=dev ...` does without them.
EXTRAS ?= dev,spconv,cluster,sweep,deploy
JOBS ?= 2

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10, 3.11 or 3.12 found; install one or run make PYTHON=/path/to/python"; exit 2; }
	@echo "Setting up $(VENV) with $(PYTHON) (downloads torch and what it needs the first time)"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

setup: $(STAMP) ## install everything into .venv

demo: $(STAMP) ## simulate, pack, train, calibrate, QAT, export, int8, compile; ends with one page (about 17 minutes on 2 cores)
	@PYTHON="$(PY)" DEMO="$(DEMO)" scripts/demo.sh

demo-data: $(STAMP) ## write a small simulated nuScenes to RAW=data/nuscenes
	$(PY) -m lidar_mt.simulate out=$(RAW) version=$(VERSION)

pack-data: $(STAMP) ## pack VERSION=v1.0-mini SPLITS="train val" of RAW=data/nuscenes into PACKED=data/packed
	@for split in $(SPLITS); do \
		$(PY) -m lidar_mt.pack_data src="$(RAW)" version=$(VERSION) split=$$split out="$(PACKED)" || exit; done

create-data: $(STAMP) ## GT database of the packed train split of VERSION=v1.0-mini in PACKED=data/packed
	$(PY) -m lidar_mt.create_data packed="$(PACKED)" version=$(VERSION)

sim-benchmark: $(STAMP) ## the accuracy benchmark on fixed simulated data: GRID=small|default TASKS="multitask detection segmentation" SEEDS="0" STAGES="float" (calibrate qat int8)
	@PYTHON="$(PY)" scripts/sim_benchmark.sh

lint: $(STAMP) ## ruff, mypy and the import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test: lint ## lint and the tests (under ten minutes)
	$(PY) -m pytest -n $(JOBS) -m 'not slow' -q

test-all: lint ## every test, the slow ones too
	$(PY) -m pytest -n $(JOBS) -q

format: $(STAMP) ## let ruff rewrite the sources
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

benchmark: $(STAMP) ## the side-by-side timings of docs/performance.md
	$(PY) -m pytest benchmarks -q --benchmark-only

wheel: $(STAMP) ## build the wheel into dist/
	$(PY) -m build --wheel

clean: ## remove caches and build products; data, runs and .venv stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
