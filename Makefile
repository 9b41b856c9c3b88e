# One command for each thing a developer does. Needs make and Python 3.11 or newer, nothing else.
.DEFAULT_GOAL := help
.PHONY: help install demo test survival faults checker distress fuzz bench guard profile lint check up lock clean

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The first Python that is new enough; choose another one with `make PYTHON=…`.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$name" && break; done)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## install everything into .venv, from requirements.lock

demo: $(INSTALLED) ## run the main job on a real Kafka and PostgreSQL, in under a minute
	@$(BIN)/saec demo

# Three at a time, each with a Kafka and a PostgreSQL of its own, since they wait more than they work;
# a file stays together, and the files in their order, in which the longest are not the last.
test: $(INSTALLED) ## run the tests: make test ARGS="-k cancel"
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

SEED ?= 1
MINUTES ?= 3
survival: $(INSTALLED) ## 20,000 requests while processes are killed: make survival ARGS="--seed 7"
	@$(BIN)/python -m tests.survival.run $(ARGS)

faults: $(INSTALLED) ## faults at every step of the protocol: make faults SEED=7 MINUTES=60
	@$(BIN)/python -m faults --seed $(SEED) --minutes $(MINUTES) $(ARGS)

checker: $(INSTALLED) ## every state of a model of the protocol, and what breaks it
	@$(BIN)/python -m faults.checker --all $(ARGS)

distress: $(INSTALLED) ## a million messages due at once: make distress ARGS="--messages 100000"
	@$(BIN)/python -m faults.distress $(ARGS)

SECONDS ?= 60
fuzz: $(INSTALLED) ## feed the decoder with mutated input: make fuzz SECONDS=600
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-fuzz.lock
	@mkdir -p .fuzz
	@$(BIN)/python -m fuzz.decoder -max_total_time=$(SECONDS) -max_len=4096 -timeout=10 \
		-rss_limit_mb=1024 -artifact_prefix=fuzz/corpus/ .fuzz fuzz/corpus
	@$(BIN)/python -m fuzz.decoder -merge=1 -max_len=4096 fuzz/corpus .fuzz

PART ?= all
bench: $(VENV)/.bench ## how fast it is, beside what limits it; a part alone: make bench PART=burst
	@$(BIN)/python -m bench $(PART) $(ARGS)

guard: $(INSTALLED) ## small runs, beside the ratios that are committed
	@$(BIN)/python -m bench guard $(ARGS)

profile: $(VENV)/.bench ## a flame graph of a worker in the burst, in .bench/flame.svg
	@$(BIN)/python -m bench profile $(ARGS)

lint: $(INSTALLED) ## ruff, its formatter, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: test lint ## test and lint

up: $(INSTALLED) ## start Kafka, PostgreSQL and SAEC's processes; Ctrl-C stops them
	@$(BIN)/saec up

# What is locked stays as it is; `make lock UPGRADE=--upgrade` takes the newest versions.
COMPILE = $(VENV)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header $(UPGRADE)

lock: $(INSTALLED) ## write the *.lock files anew from pyproject.toml
	@test -x $(VENV)/uv/bin/uv || $(BIN)/python -m venv $(VENV)/uv
	@$(VENV)/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-lock.lock
	@$(COMPILE) --extra embedded --extra audit --extra http --extra dev pyproject.toml -o requirements.lock
	@$(COMPILE) --constraint requirements.lock --extra http pyproject.toml -o requirements-runtime.lock
	@sed -n 's/^fuzz = \["\(.*\)"\]$$/\1/p' pyproject.toml | \
		$(COMPILE) --constraint requirements.lock - -o requirements-fuzz.lock
	@$(COMPILE) --constraint requirements.lock --extra bench pyproject.toml -o requirements-bench.lock
	@grep -o '^uv==[0-9.]*' requirements-lock.lock | $(COMPILE) - -o requirements-lock.lock
	@echo hatchling | $(COMPILE) --constraint requirements.lock - -o requirements-build.lock

clean: ## remove .venv and what tools left behind; not the data of make up
	rm -rf $(VENV) .fuzz .bench dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.bench: $(INSTALLED) requirements-bench.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-bench.lock
	@touch $@

$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { \
		echo 'SAEC needs Python 3.11 or newer, and found none. Install one, or name it:' \
			'make PYTHON=/path/to/python' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || test -x $(BIN)/python || { \
		echo 'This Python cannot make virtual environments (on Debian and Ubuntu: install' \
			'python3-venv). Or name another one: make PYTHON=/path/to/python' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@echo 'Installing what requirements.lock names into $(VENV) …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	@touch $@
