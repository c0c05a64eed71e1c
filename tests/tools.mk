# Included by the Makefile: the programs that targets need besides `make build`'s, and where each comes from.
#
# A target whose first prerequisite is need-A,B looks for A and B before it builds anything, and prints
# one line for each missing one, with how to get it. `make get-A,B` installs the missing ones: Debian's
# packages into the system, everything else into target/bin or the folders of Cargo and rustup.

export PATH := $(PATH):$(CURDIR)/target/bin
APT_INSTALL := env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends

# Debian's package of a program.
deb.aarch64-linux-gnu-g++ := g++-aarch64-linux-gnu
deb.aarch64-linux-gnu-gcc := gcc-aarch64-linux-gnu libc6-dev-arm64-cross
deb.dpkg-deb := dpkg
deb.git := git
deb.java := default-jre-headless
deb.jq := jq
deb.mvn := maven
deb.prometheus := prometheus
deb.promtool := prometheus
deb.python3 := python3
deb.qemu-aarch64-static := qemu-user-static
deb.readelf := binutils
deb.rpm := rpm
deb.debootstrap := debootstrap
deb.valgrind := valgrind
deb.venv := python3-venv

# The command that installs one.
get.actionlint := GOBIN=$(CURDIR)/target/bin go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
get.amd64-std := rustup target add x86_64-unknown-linux-gnu
get.arm64-std := rustup target add aarch64-unknown-linux-gnu
get.cargo-deny := cargo install --locked cargo-deny@0.20.2
get.cargo-fuzz := cargo install --locked cargo-fuzz@0.13.2
get.cargo-zigbuild := tests/get-zigbuild
get.helm := GOBIN=$(CURDIR)/target/bin go install helm.sh/helm/v3/cmd/helm@v3.22.0
get.minimum = rustup toolchain install --profile minimal $(MINIMUM)
get.nfpm := GOBIN=$(CURDIR)/target/bin go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
get.nightly := rustup toolchain install --profile minimal nightly
get.zig := tests/get-zigbuild

# How to get what no command here installs.
how.cargo := Rust, as https://rustup.rs installs it
how.docker := Docker Engine 23 or later with its daemon running, as https://docs.docker.com/engine/install says
how.fluent-bit := name one in FLUENT_BIT, or let make hosts take them out of the official images
how.buildx := the plugin buildx of Docker (Debian: apt-get install docker-buildx)
how.gh := the command of GitHub, as https://cli.github.com says
how.go := Go 1.26 or later, as https://go.dev/doc/install says
how.kubectl := kubectl or kustomize, as https://kubernetes.io/docs/tasks/tools says
how.registry := say where images go: REGISTRY=HOST/OWNER
how.rustup := rustup, as https://rustup.rs installs it

# The command that looks for one, unless it is looked for by its name on the PATH.
has.amd64-std := ls "$$(rustc --print target-libdir --target x86_64-unknown-linux-gnu)"/libstd-*
has.arm64-std := ls "$$(rustc --print target-libdir --target aarch64-unknown-linux-gnu)"/libstd-*
has.cargo = $(CARGO) -V
has.buildx := docker buildx version
has.docker := docker info
has.fluent-bit = test -n "$$FLUENT_BIT" || command -v fluent-bit || test -x /opt/fluent-bit/bin/fluent-bit
has.kubectl := command -v kubectl || command -v kustomize
has.minimum = rustup run $(MINIMUM) rustc -V
has.nightly := rustup run nightly rustc -V
has.registry = test -n "$(REGISTRY)"
has.venv := python3 -c "import ensurepip, venv"
has.zig := command -v zig || python3 -m ziglang version

# The words for one in a message, unless the name is enough.
named.amd64-std := standard library of Rust for x86_64
named.arm64-std := standard library of Rust for aarch64
named.buildx := buildx
named.docker := Docker that answers
named.fluent-bit := Fluent Bit
named.minimum = Rust $(MINIMUM)
named.nightly := nightly Rust
named.registry := REGISTRY
named.venv := module venv of Python

comma := ,
has = { $(or $(has.$(1)),command -v $(1)); } >/dev/null 2>&1
how = $(or $(how.$(1)),make get-$(1) runs: $(or $(get.$(1)),apt-get install $(deb.$(1))))

need-%:
	@missing=; $(foreach tool,$(subst $(comma), ,$*),$(call has,$(tool)) || \
		{ echo "$(MAKECMDGOALS): there is no $(or $(named.$(tool)),$(tool)): $(call how,$(tool))" >&2; missing=1; };) [ -z "$$missing" ]

get-%:
	@set -e; $(foreach tool,$(subst $(comma), ,$*),$(call has,$(tool)) || { $(or $(get.$(tool)),$(if $(deb.$(tool)), \
		$(SUDO) apt-get update -q && $(SUDO) $(APT_INSTALL) $(deb.$(tool)),echo "$(tool): $(how.$(tool))" >&2; exit 1)); };) :
