# The Makefile includes this: how a release is made. ARCH is amd64 or arm64, by default that of this
# machine, and MAINTAINER names who answers for a release.

ARCH ?= $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)

.PHONY: dist
dist: need-cargo,cargo-zigbuild,zig,nfpm,jq,git,readelf$(patsubst %,$(comma)%-std,$(filter amd64 arm64,$(ARCH))) ## make archive, .deb, .rpm, SBOMs and checksums of a release: target/dist (ARCH=arm64 for the other one)
	@ARCH=$(ARCH) CARGO=$(CARGO) packaging/dist.sh

.PHONY: dist-check
dist-check: need-dpkg-deb dist ## build the release again from a copy elsewhere, install the packages, run them on real Fluent Bits
	@ARCH=$(ARCH) CARGO=$(CARGO) packaging/dist-check.sh
