# `make` shows what there is. `make run` and `make test` work as the very first command in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help install run test coverage contract accept accept-explain accept-kill accept-mutations accept-prepare accept-statistics drill pictures reproduce lint types clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-17s %s\n' "$$name" "$$what"; done

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing harbench and what it needs into .venv (several GB with torch) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[dev]'
	@touch $@

install: $(READY)  ## Install harbench and what it needs into .venv

run: $(READY)  ## From nothing to a leaderboard: render `sample`, train two models on it, write the report
	@$(BIN)/harbench prepare sample --split small --short-side 64
	@$(BIN)/harbench run recipes/motion3d_sample.yaml recipes/small_cnn_sample.yaml
	@$(BIN)/harbench report sample
	@echo "To type harbench yourself:  . $(BIN)/activate"

test: $(READY) lint types  ## All checks: lint, types, tests (offline; real data from HARBENCH_TEST_DATA)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

coverage: $(READY)  ## The tests with line coverage, which doubles the time of what is pure Python
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered -q

accept: $(READY)  ## Measure whether `sample` still tells models apart (minutes; not part of `make test`)
	@$(BIN)/python tests/acceptance/sample_acceptance.py

accept-prepare: $(READY)  ## Whole data sets from a server and a machine that misbehave (minutes; ARGS="--fraction 0.02")
	@$(BIN)/python tests/acceptance/prepare_acceptance.py $(ARGS)

accept-kill: $(READY)  ## kill -9 at 20 random moments of small trainings: equal to the byte (minutes; ARGS="--rounds 1")
	@$(BIN)/python tests/acceptance/kill_acceptance.py $(ARGS)

accept-mutations: $(READY)  ## 3,000 mutated inputs over everything that is read of others (minutes; ARGS="--number 300")
	@$(BIN)/python tests/acceptance/mutations.py $(ARGS)

accept-explain: $(READY)  ## Eight planted faults, each to be named by `explain`, and two sound runs (minutes)
	@$(BIN)/python tests/acceptance/explain_acceptance.py

drill: $(READY)  ## Kills, full disks, damage, crowds: is every promise kept? (half an hour; ARGS="--scale 0.1")
	@$(BIN)/python tests/drill/drill.py $(ARGS)

accept-statistics: $(READY)  ## How often intervals, verdicts and tests are right, by simulation (minutes)
	@$(BIN)/python tests/acceptance/statistics_acceptance.py

reproduce: $(READY)  ## Run and check every recipe that states a number and whose data is under HARBENCH_HOME (ARGS="--seeds 3")
	@$(BIN)/harbench reproduce $(ARGS)

pictures: $(READY)  ## Draw docs/pictures/ anew from what `make run` left (needs Chromium)
	@PATH="$(BIN):$$PATH" $(BIN)/python docs/pictures.py $(ARGS)

contract: $(READY)  ## Every recipe: one training step and one view at its full size (minutes, much memory)
	@HARBENCH_CONTRACT=full $(BIN)/python -m pytest -q --durations=0 tests/models/test_recipes_contract.py

lint: $(READY)  ## ruff: style, banned imports, layer rules of single files
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

types: $(READY)  ## mypy --strict over the package
	@$(BIN)/mypy --no-error-summary

clean:  ## Remove what was built; data/ and runs/ stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
