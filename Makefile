# Each target sets up what it needs and says what it does; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
# Most tests of these levels wait for a server, so three at a time; the cluster is one for all and has the machine alone.
BESIDE_EACH_OTHER := -n 3 --dist loadfile

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{split($$1, t, ":"); printf "  make %-14s %s\n", t[1], $$2}'

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	@echo "== virtual environment with the hash-locked dependencies"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: venv
venv: $(VENV)/.installed ## the virtual environment, from the hash-locked requirements

.PHONY: kernels
kernels: venv ## compile what runs natively, so that no test and no demo waits for it
	$(BIN)/python -m ticker_shard.app.kernels

.PHONY: demo
demo: kernels ## one machine, no broker, no cluster: simulator, two accounts, 30 seconds of ticks into an embedded Redis
	$(BIN)/tickershard local docs/examples/demo --simulate --for 30

.PHONY: packages
packages: venv ## Debian packages that the tests use, when this is root on Debian and some are missing
	$(BIN)/python -m tests.support.cluster_packages

.PHONY: binaries
binaries: venv ## control plane and helm for the API and cluster tests: found, cached, or built from source (Go)
	$(BIN)/python -m tests.support.controlplane_binaries

.PHONY: test
test: packages binaries lint kernels ## everything: unit, component, API and cluster level (REQUIRE_CLUSTER=1: nothing may be skipped for want of a part)
	$(PYTEST) $(BESIDE_EACH_OTHER) tests/unit tests/component tests/api
	$(PYTEST) tests/cluster

.PHONY: test-fast
test-fast: kernels ## the inner loop: unit and component level
	$(PYTEST) $(BESIDE_EACH_OTHER) tests/unit tests/component

.PHONY: test-api
test-api: binaries kernels ## the API level: etcd and a real API server
	$(PYTEST) $(BESIDE_EACH_OTHER) tests/api

.PHONY: test-cluster
test-cluster: packages binaries ## the cluster level: a whole Kubernetes on this machine
	$(PYTEST) tests/cluster

.PHONY: fuzz
fuzz: kernels ## coverage-guided bytes through the frame loop of both engines (FUZZ_SECONDS=600)
	$(BIN)/python -m tests.support.fuzz_frames --seconds $(or $(FUZZ_SECONDS),600)

.PHONY: lint
lint: venv ## ruff, mypy (strict), import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: kernels ## measurements beside the peers: a table, and build/bench.json (BENCH="--only decode --quick")
	$(BIN)/python -m benchmarks $(BENCH)

.PHONY: load
load: kernels ## load scenarios of one account: build/load.md and .json (LOAD_SECONDS=60 scales; LOAD="--only storm")
	$(BIN)/python -m benchmarks.load $(LOAD)

.PHONY: chaos
chaos: kernels ## random faults over compressed trading days, judged by the delivery checker (CHAOS_SECONDS=600, CHAOS_SEED=…)
	$(BIN)/python -m tests.support.chaos

.PHONY: chaos-cluster
chaos-cluster: packages binaries ## the same on a real cluster: pods, Redis, tokens, the operator (CHAOS_SECONDS=600, CHAOS_SEED=…)
	$(BIN)/python -m tests.support.chaos cluster

.PHONY: image
image: packages ## the container image (buildah here, docker elsewhere)
	$(BIN)/python -m tests.support.cluster_image

.PHONY: cluster-up
cluster-up: packages binaries ## a whole Kubernetes on this machine (root on Debian), until `make cluster-down`
	$(BIN)/python -m tests.support.cluster up

.PHONY: cluster-down
cluster-down: venv ## stop it and remove what it made
	$(BIN)/python -m tests.support.cluster down

.PHONY: cluster-demo
cluster-demo: packages binaries ## helm install, apply, status, undo on a real cluster: what one types and sees
	$(BIN)/python -m tests.support.cluster_demo

.PHONY: generate
generate: venv ## CRDs and reference from the models, after a change of them
	$(BIN)/tickershard crds --write .

.PHONY: lock
lock: ## resolve the dependencies anew into the hash-locked requirements files (needs uv)
	uv pip compile -q pyproject.toml --universal --extra embedded --group dev --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 -o requirements-dev.txt
	uv pip compile -q pyproject.toml --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 -c requirements-dev.txt -o requirements.txt
	uv pip compile -q benchmarks/peers-requirements.in --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 -o benchmarks/peers-requirements.txt
