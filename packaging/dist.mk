# Included by the Makefile: what a release is made of. Takes ARCH=amd64 or ARCH=arm64, of this
# machine when not given, and the MAINTAINER of a release.

.PHONY: dist
dist: ## archive, .deb, .rpm, SBOMs and checksums of a release: target/dist (ARCH=arm64 for the other one)
	@CARGO=$(CARGO) packaging/dist.sh

.PHONY: dist-check
dist-check: dist ## build the release again from a copy elsewhere, install the packages, run them on real Fluent Bits
	@CARGO=$(CARGO) packaging/dist-check.sh
