"""What the manifests come to: kustomize's and helm's output as Python values, and Fluent Bit's sections."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
HELM = ROOT / "deploy/helm"
KUSTOMIZATIONS = ["base", "log-generator", "overlays/kind", "overlays/production", "overlays/with-pods",
                  "overlays/job-pods", "overlays/prometheus", "overlays/otlp"]
# Those that send metrics, and what their input has besides the shipped one's.
TO_PROMETHEUS = ["format metrics", "skip_processors on", "metric_groups all", "fields ${FIELDS}", "kube_state_metrics ${KUBE_STATE_METRICS}",
                 "cluster ${CLUSTER}"]
BY_OTLP = ["format metrics", "metric_names opentelemetry", "metric_groups all", "fields all", "cluster ${CLUSTER}"]
METRICS = {
    "overlays/prometheus": TO_PROMETHEUS,
    "overlays/otlp": BY_OTLP,
    "helm, prometheus": TO_PROMETHEUS,
    "helm, otlp": BY_OTLP,
}
HELM_VARIANTS = {
    "helm": ["values.yaml"],
    "helm, init container": ["values.yaml", "values-init-container.yaml"],
    "helm, prometheus": ["values.yaml", "values-prometheus.yaml"],
    "helm, otlp": ["values.yaml", "values-otlp.yaml"],
    "helm, yaml": ["values.yaml", "values-yaml.yaml"],
}

# The chart of our own, by what its values say besides its defaults.
CHART = HELM / "kubeletstats"
CHART_VARIANTS = {
    "chart": {},
    "chart, plugin image": {"pluginImage": {"enabled": True}, "image": {"repository": "fluent/fluent-bit", "tag": "5.1.1"}},
    "chart, prometheus": {
        "namespaces": [], "podPrefixes": [],
        "outputs": {"kafka": {"enabled": False}, "stdout": {"enabled": False}, "prometheus": {"enabled": True}},
    },
    "chart, otlp": {
        "namespaces": [], "podPrefixes": [],
        "outputs": {"kafka": {"enabled": False}, "stdout": {"enabled": False}, "otlp": {"enabled": True}},
    },
    "chart, kafka and prometheus": {"outputs": {"stdout": {"enabled": False}, "prometheus": {"enabled": True}}},
    "chart, facts": {"podFacts": {"enabled": True, "labels": ["app", "team"], "labelSelector": "app=web,gen>3"}},
    # Everything that a cluster of one's own may need.
    "chart, production": {
        "image": {"repository": "observability/fluent-bit-kubeletstats", "tag": "0.1.0@sha256:" + 64 * "0"},
        "imageRegistry": "registry.example.com:5000/mirror/",
        "imagePullSecrets": [{"name": "registry"}],
        "namespaces": [], "podPrefixes": [],
        "kubelet": {"selfSigned": True, "interval": "15s"},
        "options": {"cluster": "east", "region": "example-1", "exclude_namespace": ["kube-system", "monitoring"]},
        "outputs": {
            "stdout": {"enabled": False},
            "kafka": {
                "brokers": ["kafka-0.example.com:9093", "kafka-1.example.com:9093", "kafka-2.example.com:9094"],
                "options": {"rdkafka.security.protocol": "SSL", "rdkafka.message.max.bytes": 10485760},
            },
        },
        "extraOutputs": [{"name": "loki", "match": "kubeletstats", "host": "loki.example.com", "port": 3100}],
        "buffer": {"hostPath": "/var/lib/kubeletstats"},
        "networkPolicy": {
            "ingressFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "kubelets": [{"ipBlock": {"cidr": "10.0.0.0/16"}}],
            "receivers": [{"ipBlock": {"cidr": "10.1.0.0/24"}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 3100}]}],
        },
        "extraEnv": [{"name": "KAFKA_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}}}],
        "extraVolumes": [{"name": "kafka-ca", "secret": {"secretName": "kafka-ca"}}],
        "extraVolumeMounts": [{"name": "kafka-ca", "mountPath": "/etc/kafka", "readOnly": True}],
        "priorityClassName": "kubeletstats",
        "podAnnotations": {"example.com/owner": "observability"},
        "podLabels": {"team": "observability"},
        "maxUnavailable": 5,
    },
}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr.strip()}")
    return done.stdout


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


@lru_cache(maxsize=None)
def kustomization(name):
    """The objects of one directory under deploy/kubernetes, as `kubectl apply -k` would send them."""
    tool = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    return documents(run(*tool, KUBERNETES / name))


@lru_cache(maxsize=None)
def helm(variant):
    """The chart's objects and rbac.yaml's."""
    values = [word for file in HELM_VARIANTS[variant] for word in ("-f", HELM / file)]
    chart = os.environ["HELM_CHART"]
    rendered = run("helm", "template", "kubeletstats", chart, "-n", "kubeletstats", *values)
    return documents(rendered) + documents((HELM / "rbac.yaml").read_text())


def with_values(values, *command):
    """What helm says with these values."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return run("helm", *command, "-f", file.name)


def chart_text(values, release="kubeletstats"):
    """What our chart renders to with these values."""
    return with_values(values, "template", release, CHART, "-n", "kubeletstats")


@lru_cache(maxsize=None)
def chart(variant):
    """The objects of our chart, that of `helm test` among them."""
    return documents(chart_text(CHART_VARIANTS[variant]))


def sets():
    """Name and objects of everything that can be rendered here."""
    found = {name: kustomization(name) for name in KUSTOMIZATIONS}
    if shutil.which("helm"):
        found.update({name: chart(name) for name in CHART_VARIANTS})
    if "HELM_CHART" in os.environ:
        found.update({name: helm(name) for name in HELM_VARIANTS})
    return found


def of_kind(objects, *kinds):
    return [thing for thing in objects if thing["kind"] in kinds]


def pods(objects):
    """Name and template of every pod that the objects lead to."""
    for thing in of_kind(objects, "DaemonSet", "Deployment", "StatefulSet", "Job", "Pod"):
        template = thing if thing["kind"] == "Pod" else thing["spec"]["template"]
        yield thing["metadata"]["name"], template


def sections(conf):
    """Fluent Bit's configuration in either format without comments: (section, its lines), in order. Of a line the key
    is in lower case, and spaces are one; what loads the plugin is left out."""
    if re.search(r"(?m)^pipeline:$", conf):
        # Every value is text, as it is for Fluent Bit.
        read = yaml.load(conf, Loader=yaml.BaseLoader)
        parts = [("[SERVICE]", read.get("service", {}))]
        for kind in ("inputs", "filters", "outputs"):
            parts += [(f"[{kind[:-1].upper()}]", part) for part in read["pipeline"].get(kind, [])]
        return [(name, [f"{key.lower()} {value}" for key, value in flat(part)]) for name, part in parts]
    found = []
    for line in conf.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("["):
            found.append((" ".join(words), []))
        elif words[0].lower() != "plugins_file":
            found[-1][1].append(" ".join([words[0].lower(), *words[1:]]))
    return found


def flat(part):
    """Fluent Bit sets an option once for each item of a list."""
    for key, value in part.items():
        for item in value if isinstance(value, list) else [value]:
            yield key, item


def setting(conf, section, key):
    lines = next(lines for name, lines in sections(conf) if name == section)
    return next((line.split()[1] for line in lines if line.split()[0].lower() == key.lower()), None)


def variables(conf):
    return set(re.findall(r"\$\{(\w+)\}", "\n".join(line for _, lines in sections(conf) for line in lines)))


def size(text):
    """Bytes of a Kubernetes quantity (700Mi) or of a Fluent Bit size (500M)."""
    number, unit = re.fullmatch(r"(\d+)([KMG]i?)", text).groups()
    return int(number) * {"K": 1000, "Ki": 1024, "M": 1000**2, "Mi": 1024**2, "G": 1000**3, "Gi": 1024**3}[unit]
