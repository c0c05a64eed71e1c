# Images of this project. The last stage, which is what `docker build .` makes, is Fluent Bit's
# official image with the plugin, the command `kubeletstats` and the shipped configuration:
#
#     docker build -t fluent-bit-kubeletstats .
#     docker build -t kubeletstats-consumer    --target consumer .
#     docker build -t kubeletstats-sim-kubelet --target sim-kubelet .
#     docker build -t kubeletstats-plugin      --target plugin .
#
# For both architectures, and pushed, which is how an image index is made:
#
#     docker buildx build --platform linux/amd64,linux/arm64 -t REPOSITORY/fluent-bit-kubeletstats:0.1.0 --push .
#
# BuildKit is needed for the cache mounts (Docker 23 has it on; before that DOCKER_BUILDKIT=1). There is no
# `# syntax=` line: it would make every build fetch a frontend from a registry.
#
# Where no registry can be reached, the base images named by FROM come from a file made elsewhere: `docker save`
# there, `docker load` here. The build itself still needs Debian's packages and the crates.
#
# Crates are pinned by Cargo.lock, images by version. To pin an image to its content as well, give the
# version with its digest: --build-arg FLUENT_BIT_VERSION=5.1.1@sha256:...
ARG RUST_VERSION=1.95
ARG DEBIAN_VERSION=bookworm
ARG FLUENT_BIT_VERSION=5.1.1
# Of the stage `plugin` alone. With a registry of one's own before the name: BUSYBOX_IMAGE=registry.example.com/busybox.
ARG BUSYBOX_IMAGE=busybox
ARG BUSYBOX_VERSION=1.37

# Built here, the plugin needs glibc 2.34, which bookworm's toolchain links against. The official image is
# Debian 13 for 5.1 and 4.2, and 12 for 3.2; for 2.2 it is 11, which is too old for this build. The plugin of
# a release (`make dist`) needs glibc 2.17 and runs there too.
FROM rust:${RUST_VERSION}-${DEBIAN_VERSION} AS toolchain
# libclang is for bindgen.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libclang-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# The caches (--mount) stay on the build machine and are no part of an image; so each build copies what it made
# to /out. Target directories are one for each architecture.
FROM toolchain AS build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/target,sharing=locked \
    export CARGO_TARGET_DIR=/target/$(uname -m) \
 && cargo build --locked --release -p flb-in-kubeletstats -p kubeletstats-cli \
 && install -D -m 755 "$CARGO_TARGET_DIR"/release/libflb_in_kubeletstats.so /out/fluent-bit/plugins/flb-in_kubeletstats.so \
 && install -D -m 755 "$CARGO_TARGET_DIR"/release/kubeletstats /out/usr/local/bin/kubeletstats
RUN mkdir -p /out/fluent-bit/etc /out/fluent-bit/storage \
 && sed -e 's#flb-storage#/fluent-bit/storage#' -e 's#target/release#/fluent-bit/plugins#' \
        fluent-bit.yaml > /out/fluent-bit/etc/fluent-bit.yaml \
 && sed 's#flb-storage#/fluent-bit/storage#' fluent-bit.conf > /out/fluent-bit/etc/fluent-bit.conf \
 && sed 's#target/release#/fluent-bit/plugins#' plugins.conf > /out/fluent-bit/etc/plugins.conf \
 && chown 65532:65532 /out/fluent-bit/storage

FROM toolchain AS build-consumer
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/target,sharing=locked \
    export CARGO_TARGET_DIR=/target/$(uname -m) \
 && cargo build --locked --release --manifest-path consumer/Cargo.toml \
 && install -D -m 755 "$CARGO_TARGET_DIR"/release/metrics-consumer /out/metrics-consumer

FROM toolchain AS build-sim-kubelet
COPY . .
# As the tests build it: its profile in Cargo.toml is already optimised.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/target,sharing=locked \
    export CARGO_TARGET_DIR=/target/$(uname -m) \
 && cargo build --locked -p sim-kubelet \
 && install -D -m 755 "$CARGO_TARGET_DIR"/debug/sim-kubelet /out/sim-kubelet \
 && strip --strip-debug /out/sim-kubelet

FROM debian:${DEBIAN_VERSION}-slim AS consumer
# For TLS to a database.
COPY --from=toolchain /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build-consumer /out/metrics-consumer /usr/local/bin/metrics-consumer
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/metrics-consumer"]

# For trying things out where there is no cluster. Certificates and the token go to /kubelet.
FROM debian:${DEBIAN_VERSION}-slim AS sim-kubelet
COPY --from=build-sim-kubelet /out/sim-kubelet /usr/local/bin/sim-kubelet
RUN install -d -o 65532 -g 65532 /kubelet
USER 65532:65532
VOLUME /kubelet
EXPOSE 10250
ENTRYPOINT ["/usr/local/bin/sim-kubelet"]
CMD ["--listen", "0.0.0.0:10250", "--dir", "/kubelet"]

# The plugin, the command, and a cp: an init container that puts both beside an unchanged Fluent Bit (deploy/helm). The
# command does not run in this image: it needs libgcc_s, which is in Fluent Bit's image and not in this one.
FROM ${BUSYBOX_IMAGE}:${BUSYBOX_VERSION} AS plugin
COPY --from=build /out/fluent-bit/plugins/flb-in_kubeletstats.so /out/usr/local/bin/kubeletstats /
USER 65532:65532
CMD ["cp", "/flb-in_kubeletstats.so", "/kubeletstats", "/plugins/"]

FROM fluent/fluent-bit:${FLUENT_BIT_VERSION} AS fluent-bit
LABEL org.opencontainers.image.title="Fluent Bit with kubeletstats" \
      org.opencontainers.image.description="Fluent Bit with an input for container metrics of the node's kubelet" \
      org.opencontainers.image.licenses="Apache-2.0"
# All that is added, 5.6 MB on amd64: plugin 2.6 MB, command 3.0 MB, configuration 3 kB.
COPY --from=build /out/ /

# The variables of fluent-bit.yaml. If one is empty, the plugin's default applies.
ENV KAFKA_BROKERS=kafka:9092 \
    TARGET_NAMESPACE=default \
    TARGET_POD_PREFIX=log-generator \
    ALLOW_INSECURE_TLS=false \
    KUBELET_TIMEOUT_MS=5000 \
    SCRAPE_INTERVAL_MS=10000 \
    NODE_NAME= \
    SERVICE_NAME= \
    METRICS_REGION= \
    POD_FACTS= \
    POD_LABELS= \
    LABEL_SELECTOR= \
    KUBELET_URL= \
    KUBELET_CA_FILE= \
    KUBELET_TOKEN_FILE= \
    KUBELET_SERVER_NAME=

# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
# Fluent Bit writes here only. Everything else may be read-only.
VOLUME /fluent-bit/storage

# The entrypoint is the official image's. There is no shell here.
# With a FLUENT_BIT_VERSION before 3.2 give it `-c /fluent-bit/etc/fluent-bit.conf` instead: the same in the classic
# format.
CMD ["-c", "/fluent-bit/etc/fluent-bit.yaml"]
