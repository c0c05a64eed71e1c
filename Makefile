# `make help` lists the targets.

# `install` writes this as a new file. If the bytes of the old file changed, a host
# that has it mapped would crash.
PLUGIN := target/release/flb-in_kubeletstats.so
CARGO  ?= cargo
# The consumer has its own workspace. It is built into the same folder.
CONSUMER := --manifest-path consumer/Cargo.toml --target-dir target
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Cargo already uses all cores. Targets run one after the other, and may rely on earlier ones.
.NOTPARALLEL:

# What the build needs besides Rust: a C compiler and make, and libclang for bindgen.
DEBIAN_PACKAGES := build-essential libclang-dev

# With GLIBC=2.17, `build` and `panicking` link against that version, like a release. The Fluent Bits of
# `make hosts` have their own C library, which may be older than that of this machine.
ifdef GLIBC
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
LINK := zigbuild --target $(TRIPLE).$(GLIBC)
LINKED := $(TRIPLE)/
else
LINK := build
endif

# The Fluent Bits for the tests, as made by `make hosts`. FLUENT_BIT overrides them.
HOSTS = $(shell ls -rd $(CURDIR)/target/hosts/*/fluent-bit 2>/dev/null)
FLUENT_BIT ?= $(subst $() ,:,$(strip $(HOSTS)))
export FLUENT_BIT

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

include tests/tools.mk

##@ Build and try

.PHONY: deps
deps: ## install what the build needs besides Rust (Debian, Ubuntu)
	@if ! command -v dpkg >/dev/null; then \
		echo "not Debian or Ubuntu: a C compiler, make and libclang are needed"; \
	elif ! dpkg -s $(DEBIAN_PACKAGES) >/dev/null 2>&1; then \
		$(SUDO) apt-get update -q && $(SUDO) $(APT_INSTALL) $(DEBIAN_PACKAGES); \
	fi

# The tests start their own PostgreSQL clusters and Prometheus servers. Those of Debian must not
# run in addition.
.PHONY: test-deps
test-deps: deps
	@if command -v dpkg >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then \
		$(SUDO) apt-get update -q && \
		$(SUDO) $(APT_INSTALL) postgresql-common && \
		$(SUDO) sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && \
		$(SUDO) $(APT_INSTALL) postgresql; \
	fi
	@if command -v dpkg >/dev/null && ! command -v promtool >/dev/null; then \
		$(SUDO) apt-get update -q && \
		$(SUDO) $(APT_INSTALL) prometheus && \
		if command -v systemctl >/dev/null; then $(SUDO) systemctl disable --now prometheus || true; fi; \
	fi

.PHONY: build
build: need-cargo$(if $(GLIBC),$(comma)cargo-zigbuild$(comma)zig) ## build the plugin: target/release/flb-in_kubeletstats.so
	$(CARGO) $(LINK) --locked --release --lib
	@mkdir -p target/release
	install target/$(LINKED)release/libflb_in_kubeletstats.so $(PLUGIN)

.PHONY: tools
tools: need-cargo ## build the command, the consumer, the simulated kubelet, the embedded host and the demo
	$(CARGO) build --locked -p kubeletstats-cli -p sim-kubelet -p embedded-host -p testkit
	$(CARGO) build --locked $(CONSUMER)

# The plugin with injected panics, for the tests of the boundary.
.PHONY: panicking
panicking: need-cargo$(if $(GLIBC),$(comma)cargo-zigbuild$(comma)zig)
	$(CARGO) $(LINK) --locked --lib --features panic-injection --target-dir target/panic
	install target/panic/$(LINKED)debug/libflb_in_kubeletstats.so target/panic/flb-in_kubeletstats.so

.PHONY: demo
demo: need-cargo deps build tools ## run a simulated kubelet, Fluent Bit and Kafka, and show the records
	@$(CARGO) run -q --locked -p testkit --bin demo

.PHONY: kafka
kafka: need-java,mvn tools ## start Apache Kafka on loopback (needs Java 17 and Maven)
	@$(CARGO) run -q --locked -p testkit --bin kafka -- start

.PHONY: kafka-stop
kafka-stop: tools ## stop that Kafka
	@$(CARGO) run -q --locked -p testkit --bin kafka -- stop

.PHONY: clean
clean: need-cargo ## remove all that was built
	$(CARGO) clean

##@ Before a commit
.PHONY: lint
lint: need-cargo ## check formatting, lints and the workflows
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path consumer/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked $(CONSUMER) --all-targets -- -D warnings
	@if $(call has,actionlint); then $(MAKE) -s workflows; \
	else echo "workflows: NOT RUN, there is no actionlint (make get-actionlint)"; fi

.PHONY: check
check: need-cargo ## run formatting, lints, and the tests that need no Fluent Bit and little time
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(UNIT)

# The tests of core that take longer than some seconds.
LONG := concurrency:: damaged_ no_byte_of_a_credential_file_is_said how_many_short_lived_pods bursts_are_flattened
define UNIT
$(CARGO) test -q --locked --workspace --lib --bins
$(CARGO) test -q --locked -p kubeletstats-core --test core -- $(addprefix --skip ,$(LONG))
endef

# The oldest Rust version that Cargo.toml promises.
MINIMUM := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: minimum
minimum: CARGO = rustup run $(MINIMUM) cargo
minimum: export CARGO_TARGET_DIR := target/minimum
minimum: need-minimum ## run the tests of `make check` with the oldest Rust that Cargo.toml promises (needs rustup)
	$(CARGO) check -q --locked -p flb-in-kubeletstats -p kubeletstats-cli
	$(UNIT)

.PHONY: docs
docs: need-cargo ## compare the pages with the program: options, log lines, links, commands, workflows
	$(CARGO) test -q --locked --test docs

.PHONY: workflows
workflows: need-actionlint ## check .github/workflows with actionlint
	actionlint

.PHONY: golden
golden: need-cargo ## rewrite the expected records of tests/fixtures
	GOLDEN=rewrite $(CARGO) test --locked -p kubeletstats-core --test core golden

.PHONY: man
man: need-cargo ## rewrite the command's manual page from the table of its flags and options
	GOLDEN=rewrite $(CARGO) test -q --locked -p kubeletstats-cli --bin kubeletstats manual

.PHONY: deny
deny: need-cargo-deny ## check licences, duplicates and sources of all crates (needs cargo-deny)
	$(CARGO) deny --locked check licenses bans sources
	$(CARGO) deny --locked --config deny.toml --manifest-path consumer/Cargo.toml check licenses sources

.PHONY: advisories
advisories: need-cargo-deny ## look for known vulnerabilities of all crates (needs cargo-deny, which downloads its database)
	$(CARGO) deny --locked check advisories
	$(CARGO) deny --locked --config deny.toml --manifest-path consumer/Cargo.toml check advisories

##@ Tests that need a Fluent Bit: every one that FLUENT_BIT names, else those of `make hosts`, else the one on the PATH or of the package

RELEASES ?= 5.1.1 4.2.8 3.2.10 2.2.3 1.9.10

.PHONY: hosts
hosts: need-docker ## take the Fluent Bits of RELEASES out of their official images: target/hosts (needs Docker)
	@tests/get-hosts $(RELEASES)

# Without this, tests of parts that are not built would be skipped.
test e2e faults faults-metrics soak memcheck: export KUBELETSTATS_REQUIRE := 1

.PHONY: test
test: need-cargo test-deps lint build tools panicking work ## run lints and all tests, the end-to-end tests in every Fluent Bit found
	$(CARGO) test --locked --workspace && $(CARGO) test --locked $(CONSUMER); \
		status=$$?; $(MAKE) -s kafka-stop; exit $$status
	@if $(call has,minimum); then \
		rustup run $(MINIMUM) cargo check -q --locked --target-dir target/minimum -p flb-in-kubeletstats -p kubeletstats-cli; \
	else echo "minimum: NOT RUN, there is no rustup with Rust $(MINIMUM)"; fi
	@if command -v kubectl >/dev/null || command -v kustomize >/dev/null; then $(MAKE) -s manifests; \
	else echo "manifests: NOT RUN, there is neither kubectl nor kustomize to render them"; fi

.PHONY: manifests
manifests: need-python3,venv,kubectl helm ## test Kubernetes, Helm, Compose and dashboard: schemas, rights, queries (needs Python, and kubectl or kustomize)
	deploy/validate

# If there is a helm on the PATH, it is used. Otherwise Go builds one, once.
.PHONY: helm
helm:
	@if ! $(call has,helm) && $(call has,go); then \
		echo "building helm into target/bin"; \
		$(get.helm) || echo "helm: NOT BUILT"; \
	fi

.PHONY: chart
chart: helm ## package the Helm chart: target/dist/kubeletstats-VERSION.tgz (needs helm, or Go to build it)
	@$(call has,helm) || { echo "make chart needs helm 3, or Go, with which it builds one: install either" >&2; exit 1; }
	@helm lint --strict deploy/helm/kubeletstats && helm package deploy/helm/kubeletstats --destination target/dist

.PHONY: dashboards
dashboards: need-fluent-bit,python3,prometheus,promtool build tools ## test the dashboard, the alerts and published dashboards on a real Prometheus (needs Python, Fluent Bit, prometheus)
	KUBELETSTATS_REQUIRE=1 python3 -B -m unittest discover -s tests/deploy -p metrics.py

# Prints in which Fluent Bits the tests ran, and which promised releases were missing.
RAN_ON = $(CARGO) run -q --locked -p testkit --bin hosts

.PHONY: e2e
e2e: build tools panicking ## test records, metrics, log lines, stop and reload in every Fluent Bit found
	$(CARGO) test --locked --test e2e --test metrics --test lifecycle -- --skip memcheck
	@$(RAN_ON)

.PHONY: faults
faults: build tools panicking ## test the plugin under every fault, in every Fluent Bit found, and print a table
	$(CARGO) test -q --locked --test faults

.PHONY: faults-metrics
faults-metrics: build tools panicking ## run `make faults` with metrics beside the records, from Fluent Bit 2.0 on
	FAULTS_FORMAT=both $(CARGO) test -q --locked --test faults

.PHONY: soak
soak: build tools panicking ## run the long form of the lifecycle, delivery and memory tests, and print tables
	KUBELETSTATS_SOAK=1 $(CARGO) test --locked --test lifecycle -- --nocapture --test-threads=1
	KUBELETSTATS_SOAK=1 $(CARGO) test --locked --release -p kubeletstats-core --test budget -- --nocapture

.PHONY: memcheck
memcheck: need-valgrind build tools panicking ## run every Fluent Bit found under Valgrind's memcheck (needs valgrind)
	$(CARGO) test --locked --test e2e memcheck -- --nocapture
	@$(RAN_ON)

##@ Speed, other machines, other input

FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: need-cargo-fuzz,nightly ## fuzz each target for FUZZ_SECONDS, a minute (needs a nightly toolchain and cargo-fuzz)
	cd fuzz && mkdir -p corpus/summary corpus/options corpus/skip && $(CARGO) run -q --example seeds
	cd fuzz && $(CARGO) +nightly fuzz run summary corpus/summary seeds/summary -- -max_total_time=$(FUZZ_SECONDS) -dict=kubelet.dict
	cd fuzz && $(CARGO) +nightly fuzz run options corpus/options seeds/options -- -max_total_time=$(FUZZ_SECONDS) -dict=options.dict
	cd fuzz && $(CARGO) +nightly fuzz run skip corpus/skip seeds/skip -- -max_total_time=$(FUZZ_SECONDS) -max_len=1024

.PHONY: bench
bench: build ## measure a scrape, compared with its limits, and a Fluent Bit with the plugin and without
	$(CARGO) bench --locked -p kubeletstats-core --bench pipeline
	$(CARGO) run -q --locked -p whole-bench

# go builds each of them. If it cannot build one, this prints its name, and the comparison is made without it.
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
bench-peers: need-fluent-bit build peers ## measure what other ways to the same numbers cost (needs Go 1.26, Node 20 and Fluent Bit; seven minutes; PLUGIN_BEFORE=FILE adds another build)
	$(CARGO) build --locked --release -p kubeletstats-core --example scrapes
	$(CARGO) run -q --locked -p whole-bench -- peers

# The program whose instructions the test counts, built with the profile of the plugin.
.PHONY: work
work: need-cargo
	$(CARGO) build --locked --release -p scrape-work

.PHONY: instructions
instructions: need-valgrind work ## count the instructions of a scrape, and compare with the committed numbers (needs valgrind)
	KUBELETSTATS_REQUIRE=1 $(CARGO) test -q --locked -p scrape-work --test instructions

.PHONY: instructions-baseline
instructions-baseline: need-valgrind work ## rewrite the committed numbers (needs valgrind)
	INSTRUCTIONS=rewrite $(CARGO) test -q --locked -p scrape-work --test instructions

.PHONY: arm64
arm64: need-qemu-aarch64-static,aarch64-linux-gnu-gcc,aarch64-linux-gnu-g++,arm64-std work tools ## build plugin, command and consumer for aarch64, and run the tests under an emulator (FLUENT_BIT_ARM64)
	@CARGO=$(CARGO) tests/arm64.sh

##@ Images and releases

.PHONY: image
image: need-docker,buildx ## build the container image (needs Docker)
	DOCKER_BUILDKIT=1 docker build -t fluent-bit-kubeletstats:0.1.0 .

# The images that a release pushes to REGISTRY (HOST/OWNER), each with its stage of the Dockerfile.
IMAGES ?= fluent-bit-kubeletstats=fluent-bit kubeletstats-plugin=plugin kubeletstats-consumer=consumer
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
DIGESTS := target/images.sha256

# This uses REGISTRY_USER and REGISTRY_PASSWORD from the environment.
.PHONY: registry-login
registry-login: need-docker,registry
	@printf '%s' "$$REGISTRY_PASSWORD" | docker login --username "$$REGISTRY_USER" --password-stdin $(firstword $(subst /, ,$(REGISTRY)))

# A machine of each architecture pushes its own images, because an emulated build takes hours.
.PHONY: image-push
image-push: need-docker,buildx,registry ## build the images of a release for this architecture and push them to REGISTRY
	@set -e; for image in $(IMAGES); do \
		docker buildx build --target "$${image#*=}" --tag "$(REGISTRY)/$${image%=*}:$(VERSION)-$(ARCH)" --push .; \
	done

.PHONY: image-index
image-index: need-docker,buildx,registry ## give the images of both architectures in REGISTRY one name, and list their digests
	@set -e; mkdir -p target; : >$(DIGESTS); for image in $(IMAGES); do \
		name=$(REGISTRY)/$${image%=*}; \
		docker buildx imagetools create --tag "$$name:$(VERSION)" "$$name:$(VERSION)-amd64" "$$name:$(VERSION)-arm64"; \
		digest=$$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$$name:$(VERSION)"); \
		echo "$${digest#sha256:}  $$name" | tee -a $(DIGESTS); \
	done

# This runs before a release is built. It checks that the tag is the version in the files.
.PHONY: release-tag
release-tag:
	@[ "$(TAG)" = "v$(VERSION)" ] || { echo "release-tag: TAG=$(TAG), and the version in Cargo.toml is $(VERSION)" >&2; exit 1; }
	@packaging/version.sh --check

.PHONY: checksums
checksums: ## write SHA256SUMS of all files in target/dist
	@cd target/dist && find . -type f ! -name 'SHA256SUMS*' -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS

# Writes the section of this version in the changelog to target/release-notes.md.
.PHONY: release-notes
release-notes:
	@mkdir -p target; awk -v version="$(VERSION)" \
		'/^## / { on = index($$2, version) == 1 && length($$2) == length(version) } on && !/^## /' CHANGELOG.md >target/release-notes.md; \
	[ -s target/release-notes.md ] || { echo "release-notes: CHANGELOG.md has no section $(VERSION)" >&2; exit 1; }

.PHONY: publish
publish: need-gh release-tag release-notes ## make a draft of the release of TAG with the files of target/dist; a person signs and publishes it (needs gh)
	gh release create "$(TAG)" --draft --verify-tag --title "$(TAG)" --notes-file target/release-notes.md target/dist/*

include packaging/dist.mk
