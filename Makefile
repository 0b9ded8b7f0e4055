# `make demo` shows the main job, `make test` proves it, `make bench` measures it.
CARGO ?= cargo
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export CONTAINERS_CONF ?= $(CURDIR)/runtime/containers/tests/containers.conf
MCRUN = $(CARGO_TARGET_DIR)/release/mcrun

# One binary: the C++ library is part of it. Loading the shared one costs every start 2 ms, and there are two.
ONE_BINARY = CXXSTDLIB=static:-bundle=stdc++

.PHONY: help build checker demo test test-tools lint docs soak soak-daemon mutants reliability fuzz bench install clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

build: ## build the program
	$(ONE_BINARY) $(CARGO) build --locked --release --package mcrun

checker: ## build the helper of `mcrun check`
	$(CARGO) build --locked --release --package mcrun-check

demo: build ## deploy a service with native processes only: plan, deploy, answer, second run
	@tests/demo.sh $(MCRUN)

test: test-tools lint ## install what tests need (MCRUN_TEST_INSTALL=0 skips that) and run everything
	$(CARGO) nextest run --locked --workspace
	$(CARGO) test --locked --workspace --doc --quiet
	tests/demo.sh $(CARGO_TARGET_DIR)/debug/mcrun

test-tools:
	@tests/install.sh

lint: ## formatting, lints, generated files in step
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) run --locked --quiet --package mcrun -- reference docs --check
	tests/lint.sh

docs: ## write the generated reference and error pages
	$(CARGO) run --locked --quiet --package mcrun -- reference docs

soak: ## kill random programs MCRUN_ROUNDS times (20000), from another seed each time
	MCRUN_ROUNDS=$${MCRUN_ROUNDS:-20000} MCRUN_SEED=$${MCRUN_SEED:-$$(date +%s)} \
		$(CARGO) test --locked --package mcrun-tests --test suite -- --nocapture crash::random

soak-daemon: build ## kill the daemon every few seconds for MCRUN_MINUTES (60), with playbooks, events and visitors; count what is lost
	python3 tests/kill-loop.py $(MCRUN) $${MCRUN_MINUTES:-60}

mutants: ## plant known mistakes in a copy of the tree; each must be caught by a test
	tests/mutants.sh

reliability: ## write docs/reliability.md: every kill, every loss of power, every fault, every planted mistake
	tests/reliability.sh

fuzz: ## look for inputs that break what reads them, FUZZ_SECONDS (600) for each target
	tests/fuzz.sh

bench: build checker ## measure, with ratios against a baseline of the same run
	$(ONE_BINARY) $(CARGO) run --locked --release --package mcrun-bench -- $(MCRUN) | tee docs/benchmarks.md

install: build checker ## install to PREFIX (/usr/local)
	install -D -m 0755 $(MCRUN) $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/mcrun
	install -D -m 0755 $(MCRUN)-check $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/mcrun-check

clean: ## remove what was built
	$(CARGO) clean
