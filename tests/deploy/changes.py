"""The marks CHANGE: what depends on a user's cluster has one, and nothing else. Run by deploy/validate."""

import re
import shutil
import tempfile
import unittest
from pathlib import Path

from manifests import settings
from rendering import KUBERNETES, ROOT, kustomization, of_kind

# By file, the lines that a mark stands above.
MARKED = {
    "deploy/kubernetes/base/kustomization.yaml": [
        "- KAFKA_BROKERS=kafka:9092",
        "- TARGET_NAMESPACE=default",
        "- TARGET_POD_PREFIX=log-generator",
        "- KUBELET_CA_FILE=",
        "- name: fluent-bit-kubeletstats",
    ],
    "deploy/kubernetes/overlays/production/kustomization.yaml": [
        "# - ../../components/self-signed-kubelet",
        "- name: fluent-bit-kubeletstats",
        "- name: busybox",
        "- KAFKA_BROKERS=kafka-0.example.com:9092,kafka-1.example.com:9092,kafka-2.example.com:9092",
        "- KAFKA_PORT=9092",
        "- TARGET_NAMESPACE=",
        "- TARGET_POD_PREFIX=",
        "- METRICS_REGION=example-1",
    ],
    "deploy/kubernetes/overlays/production/network-policy.yaml": [
        "kubernetes.io/metadata.name: monitoring",
        "cidr: 10.0.0.0/16",
        "cidr: 10.1.0.0/24",
    ],
    "deploy/kubernetes/components/otlp/kustomization.yaml": [
        "- OTLP_HOST=otel-collector.observability.svc",
        "- OTLP_PORT=4318",
    ],
    "deploy/kubernetes/components/prometheus/podmonitor.example.yaml": ["release: prometheus"],
    "deploy/helm/values.yaml": [
        "repository: fluent-bit-kubeletstats",
        "value: default",
        "value: log-generator",
        "value: kafka:9092",
        'value: ""',
    ],
    "deploy/helm/values-init-container.yaml": ["image: kubeletstats-plugin:0.1.0"],
    "deploy/helm/values-otlp.yaml": ["Host         otel-collector.observability.svc"],
    "deploy/helm/kubeletstats/values.yaml": [
        "repository: fluent-bit-kubeletstats",
        "repository: kubeletstats-plugin",
        "namespaces: [default]",
        "podPrefixes: [log-generator]",
        "selfSigned: false",
        "enabled: true",
        'brokers: ["kafka:9092"]',
        "labels: {}",
        "host: otel-collector.observability.svc",
        "ingressFrom: []",
        "kubelets: []",
        "receivers: []",
    ],
}
# What can only be an example, wherever it stands in those files.
EXAMPLES = re.compile(
    r"example|log-generator|\bkafka:9092|\b10\.\d+\.|otel-collector|release: prometheus|: monitoring$"
    r"|(?:name|repository|image): (?:fluent-bit-kubeletstats|kubeletstats-plugin)"
)
# Lines whose value is further down.
FRAMES = re.compile(r".*:|- name: [A-Z_]+")


def marked(text):
    """The line that each mark is about."""
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        if re.search(r"^#.*\bCHANGE\b", line) and "marked CHANGE" not in line and "grep" not in line:
            for below in lines[number + 1 :]:
                # A line that is switched off is what the mark is about; other comments go on with it.
                switched_off = re.match(r"# - \.\./", below)
                if below and (switched_off or not below.startswith("#")) and not FRAMES.fullmatch(below):
                    yield below
                    break


class Changes(unittest.TestCase):
    maxDiff = None

    def test_what_is_marked(self):
        found = {
            str(path.relative_to(ROOT)): list(marked(path.read_text()))
            for path in sorted((ROOT / "deploy").rglob("*.yaml"))
            if "templates" not in path.parts
        }
        self.assertEqual({name: lines for name, lines in found.items() if lines}, MARKED)

    def test_no_example_is_unmarked(self):
        for name, expected in MARKED.items():
            lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
            for line in lines:
                # An image has two lines, and the mark stands above the first.
                if EXAMPLES.search(line) and not line.startswith("#") and not line.startswith("newName: example.com/"):
                    with self.subTest(f"{name}: {line}"):
                        self.assertIn(line, expected)

    def test_the_brokers_port_has_one_place(self):
        given = kustomization("overlays/production")
        variables = settings(given)
        brokers = {broker.rpartition(":")[2] for broker in variables["KAFKA_BROKERS"].split(",")}
        self.assertEqual(brokers, {variables["KAFKA_PORT"]})
        self.assertEqual(self.brokers_port(given), int(variables["KAFKA_PORT"]))
        # A copy beside it, as the page says to make one.
        with tempfile.TemporaryDirectory(dir=KUBERNETES / "overlays") as copy:
            shutil.copytree(KUBERNETES / "overlays/production", copy, dirs_exist_ok=True)
            file = Path(copy, "kustomization.yaml")
            file.write_text(file.read_text().replace("KAFKA_PORT=9092", "KAFKA_PORT=19094"))
            self.assertEqual(self.brokers_port(kustomization(copy)), 19094)

    @staticmethod
    def brokers_port(objects):
        (policy,) = of_kind(objects, "NetworkPolicy")
        (rule,) = [
            rule
            for rule in policy["spec"]["egress"]
            if {"ipBlock": {"cidr": "10.1.0.0/24"}} in rule.get("to", [])
        ]
        (port,) = rule["ports"]
        return port["port"]
