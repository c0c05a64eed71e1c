"""The YAML blocks of README.md, docs/ and deploy/: each is valid where its mark says it belongs, or a whole object.
Configurations of Fluent Bit and the other blocks are those of tests/docs. Run by deploy/validate."""

import re
import shutil
import unittest

import kubernetes_validate
import yaml

from composition import COMPOSE
from manifests import KUBERNETES_VERSIONS, PODS, STATS
from rendering import ROOT, chart_text, documents, kustomization, of_kind, pods

BLOCK = re.compile(r"(?m)^(?:<!-- test: (?P<mark>.*) -->\n)?```yaml\n(?P<text>(?:.*\n)*?)```$")

# By mark, the rules of a role that a page shows.
RULES = {"part of a ClusterRole": [STATS], "part of a ClusterRole with pod_facts": [STATS, PODS]}


def blocks():
    """Page, mark or None, and value of each block."""
    for page in [ROOT / "README.md", ROOT / "consumer/README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").glob("*/*.md"))]:
        for block in BLOCK.finditer(page.read_text()):
            yield page.relative_to(ROOT), block["mark"], yaml.safe_load(block["text"])


def pod(container):
    container = {"name": "fluent-bit", "image": "fluent-bit-kubeletstats:0.1.0", **container}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}


def role(rules):
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a"}, **rules}


class Pages(unittest.TestCase):
    def valid(self, thing):
        for version in KUBERNETES_VERSIONS:
            self.assertEqual(kubernetes_validate.validate(thing, version, strict=True), version)

    def agent(self):
        (found,) = [template for _, template in pods(of_kind(kustomization("base"), "DaemonSet"))]
        return found["spec"]

    def services(self, given):
        """Keys are those of a service of compose.yaml, and what is mounted or set has the form that is there."""
        known = set().union(*COMPOSE["services"].values())
        for name, service in given.items():
            self.assertLessEqual(set(service), known, name)
            for key in service:
                forms = {type(other[key]) for other in COMPOSE["services"].values() if key in other}
                self.assertIn(type(service[key]), forms, f"{name}: {key}")

    def test_every_yaml_block(self):
        count = 0
        for page, mark, value in blocks():
            count += 1
            with self.subTest(f"{page}: {mark}"):
                if "pipeline" in value:
                    # A configuration of Fluent Bit: tests/docs runs it.
                    continue
                if mark in RULES:
                    self.valid(role(value))
                    self.assertEqual(value["rules"], RULES[mark])
                elif mark == "part of a container":
                    self.valid(pod(value))
                    # What is said to be needed is what the manifests set.
                    (container,) = self.agent()["containers"]
                    for variable in value.get("env", []):
                        self.assertIn(variable, container["env"])
                    shipped = {**self.agent()["securityContext"], **container["securityContext"]}
                    for key, setting in value.get("securityContext", {}).items():
                        self.assertEqual(shipped[key], setting)
                elif mark == "values of the chart":
                    if shutil.which("helm"):
                        for thing in documents(chart_text(value)):
                            self.valid(thing)
                elif mark == "part of compose.yaml":
                    self.assertEqual(set(value), {"services"})
                    self.assertLessEqual(set(value["services"]), set(COMPOSE["services"]))
                    self.services(value["services"])
                elif mark == "part of the services of compose.yaml":
                    self.services(value)
                else:
                    self.assertIsNone(mark)
                    self.valid(value)
                    self.assertEqual(value["kind"], "ClusterRole", "no rule for this kind yet")
                    self.assertEqual(value["rules"], [STATS])
        total = sum(text.read_text().count("```yaml") for text in ROOT.glob("**/*.md") if "target" not in text.relative_to(ROOT).parts)
        self.assertEqual(count, total, "a block in another place or form")
        print(f"\n{count} YAML blocks of the pages")
