# Included by the Makefile: what a release is made of.

.PHONY: dist
dist: ## archive, .deb, SBOMs and checksums of a release: target/dist
	@CARGO=$(CARGO) packaging/dist.sh

.PHONY: dist-check
dist-check: dist ## build the release again from a copy elsewhere, and run the .deb on the real Fluent Bit
	@packaging/dist-check.sh
