{{- define "kubeletstats.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of everything that belongs to the release. */}}
{{- define "kubeletstats.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kubeletstats.labels" -}}
{{ include "kubeletstats.selector" . }}
app.kubernetes.io/part-of: kubeletstats
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The name of an image: a list of the root, repository and tag. */}}
{{- define "kubeletstats.image" -}}
{{- $registry := (index . 0).Values.imageRegistry | trimSuffix "/" -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ index . 1 }}:{{ index . 2 }}
{{- end -}}

{{- define "kubeletstats.fluentBitImage" -}}
{{- $given := .Values.image -}}
{{- if and .Values.pluginImage.enabled (not $given.tag) -}}
{{- fail "image.tag is empty: with pluginImage.enabled name the Fluent Bit image in image.repository and its tag in image.tag, such as fluent/fluent-bit and 5.1.1" -}}
{{- end -}}
{{- include "kubeletstats.image" (list . $given.repository ($given.tag | default .Chart.AppVersion)) -}}
{{- end -}}

{{/* The command kubeletstats in the pod. */}}
{{- define "kubeletstats.command" -}}
{{- if .Values.pluginImage.enabled }}/fluent-bit/plugins/kubeletstats{{ else }}/usr/local/bin/kubeletstats{{ end -}}
{{- end -}}

{{/* What the outputs take: "true" or nothing. */}}
{{- define "kubeletstats.records" -}}
{{- if or .Values.outputs.kafka.enabled .Values.outputs.stdout.enabled .Values.extraOutputs }}true{{ end -}}
{{- end -}}

{{- define "kubeletstats.metrics" -}}
{{- if or .Values.outputs.prometheus.enabled .Values.outputs.otlp.enabled }}true{{ end -}}
{{- end -}}

{{/* Whether anything waits on disk. A page for Prometheus has the last scrape and no more. */}}
{{- define "kubeletstats.stored" -}}
{{- if or (include "kubeletstats.records" .) .Values.outputs.otlp.enabled }}true{{ end -}}
{{- end -}}

{{/* Where the kubelet listens. */}}
{{- define "kubeletstats.kubeletPort" -}}
{{- $port := regexFind ":[0-9]+" (regexReplaceAll "^https?://(\\[[^]]*\\]|[^:/]*)" .Values.kubelet.url "") -}}
{{- $port | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http://" .Values.kubelet.url)) -}}
{{- end -}}

{{/* Properties of Fluent Bit, from a map. Lists become one text, because that is what plugins take; an empty
     value is not written. */}}
{{- define "kubeletstats.properties" -}}
{{- range $key, $value := . -}}
{{- $texts := list -}}
{{- range ternary $value (list $value) (kindIs "slice" $value) -}}
{{- $texts = append $texts (include "kubeletstats.text" .) -}}
{{- end -}}
{{- with join "," $texts -}}
{{ $key }}: {{ . | quote }}
{{ end -}}
{{- end -}}
{{- end -}}

{{/* A value as it is written. Helm reads numbers as floats, which would come out as 1e+06. */}}
{{- define "kubeletstats.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end -}}
{{- end -}}

{{/* What the containers that run Fluent Bit and the command have in common. */}}
{{- define "kubeletstats.container" -}}
image: {{ include "kubeletstats.fluentBitImage" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: NODE_IP
    valueFrom:
      fieldRef:
        fieldPath: status.hostIP
  - name: POD_IP
    valueFrom:
      fieldRef:
        fieldPath: status.podIP
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{- define "kubeletstats.mounts" -}}
- name: config
  mountPath: /fluent-bit/etc/fluent-bit.yaml
  subPath: fluent-bit.yaml
  readOnly: true
{{- if .Values.pluginImage.enabled }}
- name: plugin
  mountPath: /fluent-bit/plugins
  readOnly: true
{{- end }}
{{- if .Values.kubelet.selfSigned }}
- name: kubelet-pki
  mountPath: /var/lib/kubelet/pki
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "kubeletstats.volumes" -}}
- name: config
  configMap:
    name: {{ include "kubeletstats.name" . }}
{{- if .Values.pluginImage.enabled }}
- name: plugin
  emptyDir:
    sizeLimit: 32Mi
{{- end }}
{{- if .Values.kubelet.selfSigned }}
# The folder is mounted, because a single mounted file would stay the old one when the kubelet writes a new file. Only
# root can read the keys in the folder, and this pod is not root.
- name: kubelet-pki
  hostPath:
    path: /var/lib/kubelet/pki
    type: Directory
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The init container that brings the plugin and the command. */}}
{{- define "kubeletstats.pluginContainer" -}}
- name: plugin
  image: {{ include "kubeletstats.image" (list . .Values.pluginImage.repository (.Values.pluginImage.tag | default .Chart.AppVersion)) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  resources:
    requests:
      cpu: 10m
      memory: 8Mi
    limits:
      memory: 32Mi
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - name: plugin
      mountPath: /plugins
{{- end -}}

{{/* Of the pods: the account, whose token they get, and where they may run. */}}
{{- define "kubeletstats.pod" -}}
serviceAccountName: {{ include "kubeletstats.name" . }}
automountServiceAccountToken: true
# Otherwise a Service called kafka would set KAFKA_* variables here.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}
