# `make help` lists the targets.

# Put in place by `install`, which makes a new file: a host that has the old one
# mapped would die if its bytes changed.
PLUGIN := target/release/flb-in_kubeletstats.so
CARGO  ?= cargo
# The consumer is a workspace of its own, built into the same folder.
CONSUMER := --manifest-path consumer/Cargo.toml --target-dir target
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Cargo shares the machine out; targets in a row may rely on the ones before.
.NOTPARALLEL:

# What the build needs besides Rust: a C compiler and make, and libclang for bindgen.
DEBIAN_PACKAGES := build-essential libclang-dev

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install what the build needs besides Rust (Debian, Ubuntu)
	@if ! command -v dpkg >/dev/null; then \
		echo "not Debian or Ubuntu: a C compiler, make and libclang are needed"; \
	elif ! dpkg -s $(DEBIAN_PACKAGES) >/dev/null 2>&1; then \
		$(SUDO) apt-get update -q && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(DEBIAN_PACKAGES); \
	fi

# The tests start PostgreSQL clusters and Prometheus servers of their own; none of Debian's is
# wanted beside them.
.PHONY: test-deps
test-deps: deps
	@if command -v dpkg >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		$(SUDO) apt-get update -q && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql-common && \
		$(SUDO) sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql; \
	fi
	@if command -v dpkg >/dev/null && ! command -v promtool >/dev/null; then \
		$(SUDO) apt-get update -q && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends prometheus && \
		if command -v systemctl >/dev/null; then $(SUDO) systemctl disable --now prometheus || true; fi; \
	fi

.PHONY: build
build: ## build the plugin: target/release/flb-in_kubeletstats.so
	$(CARGO) build --locked --release --lib
	install target/release/libflb_in_kubeletstats.so $(PLUGIN)

.PHONY: tools
tools: ## build the command, the consumer, the simulated kubelet, the embedded host and the demo
	$(CARGO) build --locked -p kubeletstats-cli -p sim-kubelet -p embedded-host -p testkit
	$(CARGO) build --locked $(CONSUMER)

# The plugin with panics to be injected; tests of the boundary load it.
.PHONY: panicking
panicking:
	$(CARGO) build --locked --lib --features panic-injection --target-dir target/panic
	install target/panic/debug/libflb_in_kubeletstats.so target/panic/flb-in_kubeletstats.so

.PHONY: demo
demo: deps build tools ## kubelet, Fluent Bit and Kafka in one run, with the records on screen
	@$(CARGO) run -q --locked -p testkit --bin demo

.PHONY: lint
lint: ## formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path consumer/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked $(CONSUMER) --all-targets -- -D warnings

.PHONY: check
check: ## what can be known in a minute: formatting, lints, and the tests that need neither host nor time
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test -q --locked --workspace --lib --bins
	$(CARGO) test -q --locked -p kubeletstats-core --test core -- $(addprefix --skip ,$(LONG))

# Tests of core that take more than some seconds.
LONG := concurrency:: damaged_ no_byte_of_a_credential_file_is_said how_many_short_lived_pods bursts_are_flattened

# Without this, what is not built is not tested.
test faults faults-metrics soak memcheck: export KUBELETSTATS_REQUIRE := 1

.PHONY: test
test: test-deps lint build tools panicking work ## lints and all tests, end to end on every Fluent Bit found
	$(CARGO) test --locked --workspace && $(CARGO) test --locked $(CONSUMER); \
		status=$$?; $(MAKE) -s kafka-stop; exit $$status
	@$(MAKE) -s minimum
	@if command -v kubectl >/dev/null || command -v kustomize >/dev/null; then $(MAKE) -s manifests; \
	else echo "manifests: NOT RUN, there is neither kubectl nor kustomize to render them"; fi

# What Cargo.toml promises.
MINIMUM := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: minimum
minimum: ## plugin and command with the oldest Rust that does (needs rustup)
	@if rustup run $(MINIMUM) true 2>/dev/null; then \
		rustup run $(MINIMUM) cargo check -q --locked --target-dir target/minimum -p flb-in-kubeletstats -p kubeletstats-cli; \
	else echo "minimum: NOT RUN, there is no rustup with Rust $(MINIMUM)"; fi

.PHONY: manifests
manifests: ## Kubernetes, Helm, compose, dashboard: schemas, rights, queries (needs Python, and kubectl or kustomize)
	deploy/validate

.PHONY: dashboards
dashboards: build tools ## dashboard, alerts and other people's dashboards on a real Prometheus (needs Python, Fluent Bit, prometheus)
	KUBELETSTATS_REQUIRE=1 python3 -B -m unittest discover -s tests/deploy -p metrics.py

.PHONY: faults
faults: build tools panicking ## the plugin under every fault, on every Fluent Bit found, as a table
	$(CARGO) test -q --locked --test faults

.PHONY: faults-metrics
faults-metrics: build tools panicking ## the same with metrics beside the records, from 2.0 on
	FAULTS_FORMAT=both $(CARGO) test -q --locked --test faults

.PHONY: soak
soak: build tools panicking ## the long form of the lifecycle, delivery and memory tests, with tables
	KUBELETSTATS_SOAK=1 $(CARGO) test --locked --test lifecycle -- --nocapture --test-threads=1
	KUBELETSTATS_SOAK=1 $(CARGO) test --locked --release -p kubeletstats-core --test budget -- --nocapture

.PHONY: memcheck
memcheck: build tools panicking ## every host under Valgrind's memcheck (needs valgrind)
	$(CARGO) test --locked --test e2e memcheck -- --nocapture

.PHONY: fuzz
fuzz: ## fuzz each target for a minute (needs a nightly toolchain and cargo-fuzz)
	cd fuzz && mkdir -p corpus/summary corpus/options corpus/skip && $(CARGO) run -q --example seeds
	cd fuzz && $(CARGO) +nightly fuzz run summary corpus/summary seeds/summary -- -max_total_time=60 -dict=kubelet.dict
	cd fuzz && $(CARGO) +nightly fuzz run options corpus/options seeds/options -- -max_total_time=60 -dict=options.dict
	cd fuzz && $(CARGO) +nightly fuzz run skip corpus/skip seeds/skip -- -max_total_time=60 -max_len=1024

.PHONY: deny
deny: ## licences, duplicates and sources of all crates (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources
	$(CARGO) deny --locked --manifest-path consumer/Cargo.toml check --config ../deny.toml licenses sources

.PHONY: bench
bench: build ## cost of a scrape beside its budgets, and of whole Fluent Bits with it and without
	$(CARGO) bench --locked -p kubeletstats-core --bench pipeline
	$(CARGO) run -q --locked -p whole-bench

# Each with its ordinary client; what cannot be built is said here and left out there.
.PHONY: peers
peers:
	@mkdir -p target/peers
	@if command -v go >/dev/null; then \
		for peer in otelcol telegraf; do \
			go -C tests/bench/peers/$$peer build -trimpath -ldflags '-s -w' -o $(CURDIR)/target/peers/ . \
				|| echo "peers: $$peer NOT BUILT"; \
		done; \
	else echo "peers: there is no go to build otelcol and telegraf with"; fi

.PHONY: bench-peers
bench-peers: build peers ## what other ways to the same numbers cost (needs Go 1.26, Node 20 and Fluent Bit; seven minutes; PLUGIN_BEFORE=FILE adds another build)
	$(CARGO) build --locked --release -p kubeletstats-core --example scrapes
	$(CARGO) run -q --locked -p whole-bench -- peers

# What the test of instructions counts, in the profile of the plugin.
.PHONY: work
work:
	$(CARGO) build --locked --release -p scrape-work

.PHONY: instructions
instructions: work ## instructions of a scrape beside the committed ones (needs valgrind)
	KUBELETSTATS_REQUIRE=1 $(CARGO) test -q --locked -p scrape-work --test instructions

.PHONY: instructions-baseline
instructions-baseline: work ## write them anew
	INSTRUCTIONS=rewrite $(CARGO) test -q --locked -p scrape-work --test instructions

ARM64 := aarch64-unknown-linux-gnu
arm64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER := aarch64-linux-gnu-gcc
arm64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := qemu-aarch64-static -L /usr/aarch64-linux-gnu

.PHONY: arm64
arm64: work ## captured replies on emulated aarch64 beside here (needs rustup target add, gcc-aarch64-linux-gnu, qemu-user-static)
	$(CARGO) build --locked --release -p scrape-work --target $(ARM64)
	$(CARGO) test -q --locked -p json-skip --target $(ARM64)
	ARM64_REQUIRE=1 $(CARGO) test -q --locked -p scrape-work --test arm64 -- --nocapture

.PHONY: golden
golden: ## write the expected records of tests/fixtures anew
	GOLDEN=rewrite $(CARGO) test --locked -p kubeletstats-core --test core golden

.PHONY: kafka
kafka: tools ## start Apache Kafka on loopback (needs Java 17 and Maven)
	@$(CARGO) run -q --locked -p testkit --bin kafka -- start

.PHONY: kafka-stop
kafka-stop: tools ## stop it
	@$(CARGO) run -q --locked -p testkit --bin kafka -- stop

.PHONY: image
image: ## build the container image
	DOCKER_BUILDKIT=1 docker build -t fluent-bit-kubeletstats:0.1.0 .

.PHONY: clean
clean: ## remove all that was built
	$(CARGO) clean

include packaging/dist.mk
