# What is done often here, each by one word. `make` alone lists them.

SHELL := /bin/bash
CARGO ?= cargo
ARGS ?=

# Clones that are made anew for each check share what they built.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/pantala/target
endif

.DEFAULT_GOAL := help
.PHONY: help check test demo up fmt deny fuzz-check install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@$(foreach script,$(wildcard bench/*.sh),echo "             bench-$(basename $(notdir $(script)))";)

check: ## the quick loop: format, lints, tidy, unit tests
	@tests/run.sh lint unit

test: ## everything: check, documentation tests, end to end with real clients
	@tests/run.sh

demo: ## show what it does on this machine, in a minute
	@$(call run-script,tests/demo.sh)

up: ## build and run all of Pantala in one process (ARGS="..." is passed on)
	@$(call run-script,tests/up.sh)

bench-%: ## measure: runs bench/NAME.sh
	@$(call run-script,bench/$*.sh)

fmt: ## format the code
	$(CARGO) fmt --all

deny: ## licences, bans and advisories of dependencies (installs cargo-deny where it is missing)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked
	$(CARGO) deny check licenses bans sources
	$(CARGO) deny check $(ARGS) advisories

fuzz-check: ## the fuzz targets still compile (with stable Rust; needs a C++ compiler)
	$(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}/fuzz"

install: ## the Debian packages that tests with real clients need (as root)
	tests/install.sh $(ARGS)

clean: ## remove what was built
	$(CARGO) clean

define run-script
if [ -x $(1) ]; then exec $(1) $(ARGS); \
else echo "$(1) is not there or not executable" >&2; exit 1; fi
endef
