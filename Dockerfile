# Fluent Bit's official image with the plugin and the shipped configuration.
ARG RUST_VERSION=1.95
ARG FLUENT_BIT_VERSION=5.1.1

# Debian 12 as in the image below: the plugin needs the glibc it is built with, or a later one.
FROM rust:${RUST_VERSION}-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends libclang-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --lib \
 && install -D target/release/libflb_in_kubeletstats.so /out/plugins/flb-in_kubeletstats.so \
 && mkdir -p /out/etc /out/storage \
 && sed 's#flb-storage#/fluent-bit/storage#' fluent-bit.conf > /out/etc/fluent-bit.conf \
 && sed 's#target/release#/fluent-bit/plugins#' plugins.conf > /out/etc/plugins.conf

FROM fluent/fluent-bit:${FLUENT_BIT_VERSION}
COPY --from=build /out/ /fluent-bit/

# The variables of fluent-bit.conf; empty leaves the plugin's default in force.
ENV KAFKA_BROKERS=kafka:9092 \
    TARGET_NAMESPACE=default \
    TARGET_POD_PREFIX=log-generator \
    ALLOW_INSECURE_TLS=false \
    KUBELET_TIMEOUT_MS=5000 \
    SCRAPE_INTERVAL_MS=10000 \
    NODE_NAME= \
    SERVICE_NAME= \
    METRICS_REGION= \
    KUBELET_URL= \
    KUBELET_CA_FILE= \
    KUBELET_TOKEN_FILE= \
    KUBELET_SERVER_NAME=

CMD ["-c", "/fluent-bit/etc/fluent-bit.conf"]
