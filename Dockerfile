# Images of this project. The last stage, which is what `docker build .` makes, is Fluent Bit's
# official image with the plugin, the command `kubeletstats` and the shipped configuration:
#
#     docker build -t fluent-bit-kubeletstats .
#     docker build -t kubeletstats-consumer    --target consumer .
#     docker build -t kubeletstats-sim-kubelet --target sim-kubelet .
#     docker build -t kubeletstats-plugin      --target plugin .
#
# To build the images for both architectures and to push them as one image index:
#
#     docker buildx build --platform linux/amd64,linux/arm64 -t REPOSITORY/fluent-bit-kubeletstats:0.1.0 --push .
#
# The cache mounts need BuildKit. It is on by default since Docker 23; before that, set DOCKER_BUILDKIT=1. There is no
# `# syntax=` line, because with it every build would fetch a frontend from a registry.
#
# Without access to a registry, copy the base images of the FROM lines in a file: run `docker save` on another machine
# and `docker load` on this one. The build itself still needs Debian's packages and the crates.
#
# Crates are pinned by Cargo.lock, images by version. To pin an image to its content as well, give the
# version with its digest: --build-arg FLUENT_BIT_VERSION=5.1.1@sha256:...
ARG RUST_VERSION=1.95
ARG DEBIAN_VERSION=bookworm
ARG FLUENT_BIT_VERSION=5.1.1
# Only the stage `plugin` uses this. To use your own registry, put it before the name: BUSYBOX_IMAGE=registry.example.com/busybox.
ARG BUSYBOX_IMAGE=busybox
ARG BUSYBOX_VERSION=1.37

# A plugin that is built here needs glibc 2.34, because bookworm's toolchain links against it. The official image is
# Debian 13 for 5.1 and 4.2, and Debian 12 for 3.2. For 2.2 it is Debian 11, which is too old for this plugin. The
# plugin of a release (`make dist`) needs glibc 2.17 and runs there too.
FROM rust:${RUST_VERSION}-${DEBIAN_VERSION} AS toolchain
# bindgen needs libclang.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libclang-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# The caches (--mount) stay on the build machine and are not part of an image, so each build copies its results to
# /out. There is one target directory for each architecture.
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
# This is built as for the tests. Its profile in Cargo.toml is already optimised.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/target,sharing=locked \
    export CARGO_TARGET_DIR=/target/$(uname -m) \
 && cargo build --locked -p sim-kubelet \
 && install -D -m 755 "$CARGO_TARGET_DIR"/debug/sim-kubelet /out/sim-kubelet \
 && strip --strip-debug /out/sim-kubelet

FROM debian:${DEBIAN_VERSION}-slim AS consumer
# These certificates are for TLS to a database.
COPY --from=toolchain /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build-consumer /out/metrics-consumer /usr/local/bin/metrics-consumer
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/metrics-consumer"]

# This image is for tests without a cluster. It writes its certificates and the token to /kubelet.
FROM debian:${DEBIAN_VERSION}-slim AS sim-kubelet
COPY --from=build-sim-kubelet /out/sim-kubelet /usr/local/bin/sim-kubelet
RUN install -d -o 65532 -g 65532 /kubelet
USER 65532:65532
VOLUME /kubelet
EXPOSE 10250
ENTRYPOINT ["/usr/local/bin/sim-kubelet"]
CMD ["--listen", "0.0.0.0:10250", "--dir", "/kubelet"]

# This image has the plugin, the command and cp. As an init container, it copies both into the pod of an unchanged Fluent
# Bit (deploy/helm). The command does not run in this image, because it needs libgcc_s, which only Fluent Bit's image has.
FROM ${BUSYBOX_IMAGE}:${BUSYBOX_VERSION} AS plugin
COPY --from=build /out/fluent-bit/plugins/flb-in_kubeletstats.so /out/usr/local/bin/kubeletstats /
USER 65532:65532
CMD ["cp", "/flb-in_kubeletstats.so", "/kubeletstats", "/plugins/"]

FROM fluent/fluent-bit:${FLUENT_BIT_VERSION} AS fluent-bit
LABEL org.opencontainers.image.title="Fluent Bit with kubeletstats" \
      org.opencontainers.image.description="Fluent Bit with an input for container metrics of the node's kubelet" \
      org.opencontainers.image.licenses="Apache-2.0"
# This adds 5.6 MB on amd64: plugin 2.6 MB, command 3.0 MB, configuration 3 kB.
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

# The user is a number, so that Kubernetes can check that it is not root (runAsNonRoot).
USER 65532:65532
# Fluent Bit writes only here. Everything else may be read-only.
VOLUME /fluent-bit/storage

# The entrypoint is that of the official image. The image has no shell.
# If FLUENT_BIT_VERSION is before 3.2, use `-c /fluent-bit/etc/fluent-bit.conf` instead. It is the same configuration in
# the classic format.
CMD ["-c", "/fluent-bit/etc/fluent-bit.yaml"]
