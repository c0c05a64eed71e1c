{{/* fluent-bit.yaml: the pipeline of the file of that name in the project, with the values written into it. */}}
{{- define "kubeletstats.fluentBit" -}}
{{- $outputs := .Values.outputs -}}
{{- $records := include "kubeletstats.records" . -}}
{{- $metrics := include "kubeletstats.metrics" . -}}
{{- if and $outputs.prometheus.enabled $outputs.otlp.enabled -}}
{{- fail "outputs.prometheus and outputs.otlp are both enabled, but their metrics have different names: enable one of them" -}}
{{- end -}}
{{- if and $outputs.prometheus.enabled (eq (int $outputs.prometheus.port) 2020) -}}
{{- fail "outputs.prometheus.port is 2020, where Fluent Bit serves its health and its own metrics: choose another" -}}
{{- end -}}
{{- if not (or $records $metrics) -}}
{{- fail "no output is enabled: enable one under outputs, or give extraOutputs" -}}
{{- end -}}
{{- $input := dict
  "tag" "kubeletstats"
  "kubelet_url" .Values.kubelet.url
  "interval" .Values.kubelet.interval
  "timeout" .Values.kubelet.timeout
  "namespace" .Values.namespaces
  "pod_prefix" .Values.podPrefixes
  "server_name" "${NODE_NAME}"
  "node_name" "${NODE_NAME}"
-}}
{{- if .Values.kubelet.selfSigned }}{{ $_ := set $input "kube_ca_file" "/var/lib/kubelet/pki/kubelet.crt" }}{{ end -}}
{{- if .Values.podFacts.enabled -}}
{{- $_ := set $input "pod_facts" "true" -}}
{{- $_ := set $input "pod_labels" .Values.podFacts.labels -}}
{{- $_ := set $input "label_selector" .Values.podFacts.labelSelector -}}
{{- else if or .Values.podFacts.labels .Values.podFacts.labelSelector -}}
{{- fail "podFacts.labels or podFacts.labelSelector is set, but labels are known with podFacts.enabled only" -}}
{{- end -}}
{{- if $metrics -}}
{{- $_ := set $input "format" (ternary "both" "metrics" (eq $records "true")) -}}
{{- if not $records }}{{ $_ := set $input "metric_groups" "all" }}{{ end -}}
{{- if $outputs.otlp.enabled -}}
{{- $_ := set $input "metric_names" "opentelemetry" -}}
{{- /* The receiver has more than `basic` by default. With records too, `fields` would change them as well. */ -}}
{{- if not $records }}{{ $_ := set $input "fields" "all" }}{{ end -}}
{{- else -}}
{{- $_ := set $input "skip_processors" "on" -}}
{{- end -}}
{{- end -}}
{{- if include "kubeletstats.stored" . }}{{ $_ := set $input "storage.type" "filesystem" }}{{ end -}}
plugins:
  - /fluent-bit/plugins/flb-in_kubeletstats.so

service:
  flush: 1
  grace: 5
  log_level: {{ .Values.logLevel }}
  {{- if include "kubeletstats.stored" . }}
  storage.path: /fluent-bit/storage
  {{- end }}
  # The longest time between retries, in seconds. The default is 2000.
  scheduler.cap: 30
  # This server is for the probes and /api/v2/metrics/prometheus.
  http_server: "on"
  http_listen: ${POD_IP}
  http_port: 2020
  # Fluent Bit is unhealthy if there were more output errors, or more dropped chunks, than these numbers within
  # the period (in seconds).
  health_check: "on"
  hc_errors_count: 5
  hc_retry_failure_count: 5
  hc_period: 60

pipeline:
  inputs:
    - name: kubeletstats
      {{- include "kubeletstats.properties" (mergeOverwrite $input .Values.options) | trim | nindent 6 }}
  {{- if $records }}

  filters:
    - name: record_modifier
      match: kubeletstats
      record:
        - source kubelet
        - pipeline fluent-bit
  {{- end }}

  outputs:
    {{- if $outputs.stdout.enabled }}
    - name: stdout
      match: kubeletstats
      format: json_lines
      # The record has its own timestamp.
      json_date_key: "false"
    {{- end }}
    {{- with $outputs.kafka }}
    {{- if .enabled }}
    - name: kafka
      match: kubeletstats
      {{- include "kubeletstats.properties" (mergeOverwrite (dict
        "brokers" .brokers
        "topics" .topic
        "format" "json"
        "timestamp_key" "@timestamp"
        "timestamp_format" "iso8601"
        "retry_limit" "no_limits"
        "queue_full_retries" "0"
        "storage.total_limit_size" "500M"
        "rdkafka.message.timeout.ms" "0"
        "rdkafka.max.in.flight.requests.per.connection" "1"
        "rdkafka.queue.buffering.max.messages" "1000"
      ) .options) | trim | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with $outputs.prometheus }}
    {{- if .enabled }}
    - name: prometheus_exporter
      match: kubeletstats
      host: ${POD_IP}
      port: {{ .port }}
    {{- end }}
    {{- end }}
    {{- with $outputs.otlp }}
    {{- if .enabled }}
    - name: opentelemetry
      match: kubeletstats
      {{- include "kubeletstats.properties" (mergeOverwrite (dict
        "host" .host
        "port" .port
        "retry_limit" "no_limits"
        "storage.total_limit_size" "500M"
      ) .options) | trim | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraOutputs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
