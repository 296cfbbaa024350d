# `make` lists the targets. Everything that they install goes into .kt/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build checked wasm run fmt lint test test-rust test-pure test-fuzz test-wasm test-power test-sim test-redis test-stores test-filter test-e2e test-packaging test-compat test-compat-all image golden fuzz scale sim bench bench-fleet bench-postgres soak docs ci clean

WASM := target/wasm32-unknown-unknown/wasm/kt_filter.wasm
RUNNER := $(CURDIR)/.kt/tools/bin/wasm-bindgen-test-runner
PROVIDER ?= fake
EXAMPLE ?= quickstart
GROUP ?= quickstart
FUZZ_SECONDS ?= 600
SEEDS ?= 100000
FROM ?= 0
ENVOY_COMPAT ?= 1.36.2
# The versions that the whole suite is run on: the oldest, the one that everything runs on, and one between.
ENVOY_ALL ?= 1.36.2 1.38.2 1.40.0
# What an Envoy of another version would break first.
CORE := $(addprefix tests/e2e/test_,first_curl.py sidecar_loss.py bad_input.py replay.py mesh.py mesh_drain.py)
# All that is built for this machine. One choice of packages is one choice of their features: what lint and the tests in
# Rust share is built once, while each choice of fewer packages would build half of it again.
HOST := --workspace --exclude kt-filter
# The programs as the tests in Rust have them: not optimized, but with checks of overflow that a release lacks. In
# `make test` they are built by then. What is asked of a release, `soak`, `test-compat` and the benches ask.
PROGRAMS := --bin kt --bin sidecar-cache --bin fake-provider --bin kt-fault-proxy
CHECKED := $(CURDIR)/target/debug
# How many files of the end-to-end suite run at the same time. Half of what they do is waiting.
E2E_WORKERS ?= 3

help: ## list the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## install what is missing (Envoy, the wasm target) under .kt/
	@scripts/setup run

build: ## build kt, sidecar-cache and the fake provider
	@cargo build --release -p kt -p sidecar-cache -p kt-fake-provider

# The one test is named for its features: with any test named, dependencies have those that all tests want, as in `test-rust`.
checked:
	@cargo build $(HOST) $(PROGRAMS) --test code

wasm: ## build the filter module and print its size
	@cargo build -p kt-filter --target wasm32-unknown-unknown --profile wasm
	@echo "$(WASM): $$(stat -c %s $(WASM)) bytes"

run: ## run the quickstart group: a sidecar, two gateways, a fake provider; EXAMPLE=wallet: a wallet too; GROUP=fleet: four of each, Redis, Postgres
	@PROVIDER=$(PROVIDER) EXAMPLE=$(EXAMPLE) examples/$(GROUP)/run check
	@scripts/setup $(if $(filter fleet,$(GROUP)),fleet,run)
	@$(MAKE) --no-print-directory build wasm
	@PROVIDER=$(PROVIDER) EXAMPLE=$(EXAMPLE) exec examples/$(GROUP)/run

fmt: ## format the code
	@cargo fmt --all

lint: ## formatting, clippy and tidy
	cargo fmt --all --check
	cargo clippy $(HOST) --all-targets -- -D warnings
	cargo clippy -p kt-filter --target wasm32-unknown-unknown -- -D warnings
	cargo test -q $(HOST) --test code --test docs --test invariants

test: ## prove everything: all tiers, in order
	@scripts/test

# The suites over Redis and Postgres mostly wait: four at a time take them a quarter less than one for each of two cores.
test-rust: export RUST_TEST_THREADS ?= 4
test-rust: wasm ## every test in Rust but fuzzing and wasm: pure, power, sim, redis, stores and filter, built at once
	@scripts/setup test
	cargo test $(HOST)

test-pure: ## the default members: no services, no network
	cargo test

test-fuzz: ## the fuzz targets, briefly: their corpus and 20,000 inputs more each
	@scripts/setup test
	@scripts/fuzz short

test-wasm: ## the pure crates as wasm under Node
	@scripts/setup test
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(RUNNER) \
	    cargo test --lib -p kt-contract -p kt-policy -p kt-providers -p kt-filter-core --target wasm32-unknown-unknown

test-power: ## what was acknowledged survives power cuts, on a disk of our own (FUSE)
	@scripts/setup test
	cargo test -p kt-power-loss

test-sim: ## some thousand worlds of faults by seed, and the bugs planted in them
	cargo test -p kt-sim

test-redis: ## the stores on a real Redis of their own, and what goes wrong with one
	@scripts/setup test
	cargo test -p kt-stores-redis

test-stores: ## the stores that need a service, over a Postgres of their own
	@scripts/setup test
	cargo build -p kt -p sidecar-cache
	cargo test -p kt-stores

test-filter: wasm ## the built module in the wasmtime host
	cargo test -p kt-filter-host

test-e2e: export KT_BIN_DIR ?= $(CHECKED)
test-e2e: checked wasm ## the whole group on real Envoys
	@scripts/setup test
	.kt/venv/bin/python -m pytest tests/e2e -q -m alone
	.kt/venv/bin/python -m pytest tests/e2e -q -m "not alone" -n $(E2E_WORKERS) --dist loadfile --no-loadscope-reorder

test-packaging: export KT_BIN_DIR ?= $(CHECKED)
test-packaging: checked wasm ## images, the Helm chart, the compose files, the documentation site
	@scripts/setup test
	.kt/venv/bin/python -m pytest tests/packaging -q

test-compat: build wasm ## the core of the end-to-end suite on the oldest Envoy that is supported, or on ENVOY_COMPAT=1.38.2
	@scripts/setup test
	@envoy=$$(scripts/envoy $(ENVOY_COMPAT)); echo "Envoy $(ENVOY_COMPAT): $$envoy"; \
	    KT_ENVOY=$$envoy .kt/venv/bin/python -m pytest $(CORE) -q

test-compat-all: build wasm ## the whole end-to-end suite on one Envoy after the other: ENVOY_ALL="1.36.2 1.38.2 1.40.0"
	@scripts/setup test
	@cargo build --release -p kt-fault-proxy
	@for version in $(ENVOY_ALL); do \
	    envoy=$$(scripts/envoy $$version); echo "Envoy $$version: $$envoy"; \
	    KT_ENVOY=$$envoy .kt/venv/bin/python -m pytest tests/e2e -q -m alone; \
	    KT_ENVOY=$$envoy .kt/venv/bin/python -m pytest tests/e2e -q -m "not alone" -n $(E2E_WORKERS) --dist loadfile \
	        --no-loadscope-reorder; \
	done

soak: test-compat-all ## the end-to-end suite on every supported Envoy, the flights' tests twenty times over, 200 kills while calls are paid, half an hour of a fleet that breaks, a million pairs of organizations; longer than `make test` may take
	KT_CROSSING_PAIRS=1000000 cargo test --release -p kt-fuzz --test crossings -- --nocapture
	KT_FLEET_TORTURE_SECONDS=1800 .kt/venv/bin/python -m pytest tests/e2e/test_fleet_torture.py -q -s
	KT_CRASH_ROUNDS=200 .kt/venv/bin/python -m pytest tests/e2e/test_wallet_crashes.py -q -s
	KT_FLIGHT_ROUNDS=20 .kt/venv/bin/python -m pytest tests/e2e/test_fan_out.py tests/e2e/test_flights.py \
	    tests/e2e/test_flight_*.py -q --durations=10

image: build wasm ## write the images as OCI layouts under target/oci, without a daemon
	@scripts/setup image
	@scripts/image

docs: ## write the documentation site to target/site, and fail on a link that leads nowhere
	@scripts/setup docs
	@.kt/venv/bin/python scripts/site

golden: ## rewrite the golden files; read their diff like code
	KT_GOLDEN=write cargo test -p kt-contract -p kt-providers

fuzz: ## every fuzz target for FUZZ_SECONDS, or TARGET alone
	@scripts/setup test
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz long $(TARGET)

scale: ## what 1 to 1,000 gateways ask of the store they share, simulated
	@cargo build --quiet --release -p kt-sim
	@target/release/kt-scale

sim: ## SEEDS worlds of faults, FROM one on; with SEED=n, that one in words
	@cargo build --quiet --release -p kt-sim
	@target/release/kt-sim $(if $(SEED),--replay $(SEED),--seeds $(SEEDS) --from $(FROM))

bench: build wasm ## compare with a bare Envoy; writes docs/reference/performance.md
	@scripts/setup run
	cargo build --release -p kt-filter-host --bin fuel
	cargo build --release -p kt-bench-fanout -p kt-bench-ledger
	.kt/venv/bin/python tests/bench/bench.py

bench-fleet: build wasm ## a fleet beside a bare Envoy and LiteLLM's proxy; writes docs/reference/performance-fleet.md
	@scripts/setup bench
	cargo build --release -p kt-bench-fanout
	.kt/venv/bin/python tests/bench/fleet.py

bench-postgres: ## the ledger in Postgres beside row locks and a transaction for each operation
	@scripts/setup test
	cargo run --release -p kt-bench-postgres -- --callers 1,32,128,512

bench-tenants: build wasm ## 10,000 organizations and 100,000 keys behind one hosted gateway; writes docs/reference/performance-tenants.md
	@scripts/setup run
	cargo build --release -p kt-bench-tenants
	.kt/venv/bin/python tests/bench/tenants.py

ci: ## what CI runs
	@bash .ci/run

clean: ## remove what was built and installed
	rm -rf target .kt
