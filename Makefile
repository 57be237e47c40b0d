# Thin on purpose: each target is one plain command, or two.
.DEFAULT_GOAL := help
.PHONY: help up reset test e2e chaos simulate bench micro performance reliability check audit sqlx openapi
# The committed .sqlx stands in for a database while building.
export SQLX_OFFLINE ?= true

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Installs what is missing, builds, starts everything; Ctrl-C stops it
	@scripts/install-packages
	@exec cargo run --quiet --release --locked -p shop -- up

reset: ## Forgets the data of `make up`
	@exec cargo run --quiet --release --locked -p shop -- reset --yes

test: ## Runs every test, on its own Postgres and RabbitMQ
	@scripts/install-packages
	@scripts/install-tools cargo-nextest
	@scripts/test

e2e: ## The compose file with its faults and what it costs (QUICK=1: few; FULL=1: built in Docker)
	@scripts/e2e

chaos: ## Drawn faults under load, then every invariant (SEEDS=n, SEED=s, ARGS="--only broker")
	@scripts/install-packages
	@scripts/chaos

simulate: ## One order through all services, stepped from a seed (SEEDS=n, SEED=s)
	@scripts/install-packages
	@scripts/simulate

bench: ## The promised figures, each beside its raw limit of the same run (QUICK=1, ARGS="--only relay")
	@scripts/install-packages
	@scripts/bench

micro: ## Instructions of each small operation, by callgrind: docs/micro.json
	cargo run --quiet --release --locked -p bench --bin micro

performance: ## Writes docs/performance.md and its plots (PUBLISH=1: from the last run)
	cargo run --quiet --release --locked -p bench --bin bench -- $(if $(PUBLISH),--publish,--document)

reliability: ## Writes docs/reliability.md from docs/chaos.json and the tables of tests/chaos
	cargo run --quiet --locked -p chaos -- --document

check: ## Format, lints, dependency policy, architecture, generated files
	@scripts/install-packages
	@scripts/install-tools cargo-deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --all-features check bans licenses sources
	cargo test --quiet --locked -p tests --test architecture --test deploy --test documents
	cargo run --quiet --locked -p contracts --example generate -- --check
	cargo run --quiet --locked -p shop -- openapi | diff docs/openapi.json -
	cargo run --quiet --locked -p testkit -- sqlx-prepare --check

audit: ## Known vulnerabilities in the dependencies (needs the network)
	@scripts/install-tools cargo-deny
	cargo deny --all-features check advisories

openapi: ## Writes docs/openapi.json, what the services say of their APIs
	cargo run --quiet --locked -p shop -- openapi > target/openapi.json
	mv target/openapi.json docs/openapi.json

sqlx: ## Writes .sqlx, the types of all checked queries
	@scripts/install-packages
	cargo run --quiet --locked -p testkit -- sqlx-prepare
