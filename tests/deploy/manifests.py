"""What deploy/kubernetes and deploy/helm promise, on what they render to. Run by deploy/validate."""

import os
import re
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

from rendering import (
    HELM, KUBERNETES, METRICS, ROOT, helm, kustomization, of_kind, pods, sections, setting, sets, size, variables,
)

# From the oldest that is tried to the newest whose schemas there are.
OLDEST = (1, 28)
KUBERNETES_VERSIONS = [
    f"{major}.{minor}"
    for major, minor in sorted({tuple(map(int, version.split(".")[:2])) for version in all_versions()})
    if (major, minor) >= OLDEST
]

# Not ours, and for trying things out only: the image writes beside its programs.
WRITES_TO_ITS_ROOT = {"kafka"}
# Root for one chown; see components/node-buffer.
ROOT_CONTAINERS = {
    (name, "own-storage"): ["CHOWN"] for name in ("overlays/production", "chart, production")
}

STATS = {"apiGroups": [""], "resources": ["nodes/stats"], "verbs": ["get"]}
PODS = {"apiGroups": [""], "resources": ["nodes/pods"], "verbs": ["get"]}

# Which overlays ask for facts of pods, and what they set besides the base.
WITH_PODS = {
    "overlays/with-pods": {"POD_FACTS": "true"},
    "overlays/job-pods": {
        "POD_FACTS": "true",
        "LABEL_SELECTOR": "job_type",
        "POD_LABELS": "job_type",
        "TARGET_NAMESPACE": "",
        "TARGET_POD_PREFIX": "",
        "SCRAPE_INTERVAL_MS": "2000",
    },
}

# The base writes each record to the pod's log as well.
WITHOUT_STDOUT = {"overlays/production"}

SHIPPED = (ROOT / "fluent-bit.yaml").read_text()


def agent(objects):
    """The template of the pods that run the plugin."""
    (found,) = [pod for _, pod in pods(of_kind(objects, "DaemonSet"))]
    return found


def configuration(objects):
    """The file that the agent is told to read, or that the image reads where it is told none."""
    files = {}
    for thing in of_kind(objects, "ConfigMap"):
        files.update(thing["data"])
    (container,) = agent(objects)["spec"]["containers"]
    for word in container.get("args", []):
        if word.startswith("--config="):
            return files[Path(word).name]
    # The base's is not taken away where the classic format takes its place.
    (name,) = [name for name in ("fluent-bit.conf", "fluent-bit.yaml") if name in files][:1]
    return files[name]


def settings(objects):
    """The variables of the configuration."""
    (found,) = [thing["data"] for thing in of_kind(objects, "ConfigMap") if "KAFKA_BROKERS" in thing["data"]]
    return found


def option(objects, key):
    """What the plugin reads for an option of the shipped configuration, as Fluent Bit expands it."""
    text = setting(configuration(objects), "[INPUT]", key)
    return re.sub(r"\$\{(\w+)\}", lambda variable: settings(objects)[variable[1]], text)


def with_agent():
    """But for our chart's, which chart.py looks at."""
    return {
        name: objects
        for name, objects in sets().items()
        if of_kind(objects, "DaemonSet") and not name.startswith("chart")
    }


class Schemas(unittest.TestCase):
    def test_every_object_against_every_version_with_no_unknown_field(self):
        count = 0
        for name, objects in sets().items():
            for version in KUBERNETES_VERSIONS:
                for thing in objects:
                    label = f"{name}: {thing['kind']}/{thing['metadata']['name']} on {version}"
                    with self.subTest(label):
                        # Raises where there is no schema, too.
                        self.assertEqual(kubernetes_validate.validate(thing, version, strict=True), version)
                        count += 1
        print(f"\n{count} validations: {', '.join(sets())}; Kubernetes {', '.join(KUBERNETES_VERSIONS)}")

    def test_that_an_unknown_field_would_be_seen(self):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"contaners": []}}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, KUBERNETES_VERSIONS[-1], strict=True)


class Rights(unittest.TestCase):
    def rules(self, objects):
        """Everything the objects grant, and to whom."""
        roles = of_kind(objects, "ClusterRole", "Role")
        bindings = of_kind(objects, "ClusterRoleBinding", "RoleBinding")
        self.assertEqual(
            [(role["kind"], role["metadata"]["name"]) for role in roles], [("ClusterRole", "kubeletstats")]
        )
        self.assertNotIn("aggregationRule", roles[0])
        (binding,) = bindings
        self.assertEqual(binding["kind"], "ClusterRoleBinding")
        self.assertEqual(binding["roleRef"]["name"], "kubeletstats")
        subject = {"kind": "ServiceAccount", "name": "kubeletstats", "namespace": "kubeletstats"}
        self.assertEqual(binding["subjects"], [subject])
        self.assertEqual(agent(objects)["spec"]["serviceAccountName"], "kubeletstats")
        self.assertIn("kubeletstats", [account["metadata"]["name"] for account in of_kind(objects, "ServiceAccount")])
        return roles[0]["rules"]

    def test_get_on_nodes_stats_and_nothing_else(self):
        for name, objects in with_agent().items():
            if name not in WITH_PODS:
                with self.subTest(name):
                    self.assertEqual(self.rules(objects), [STATS])

    def test_facts_of_pods_add_exactly_nodes_pods(self):
        for name in WITH_PODS:
            with self.subTest(name):
                self.assertEqual(self.rules(kustomization(name)), [STATS, PODS])

    def test_the_right_is_there_where_facts_are_asked_for_and_nowhere_else(self):
        for name, objects in with_agent().items():
            if not name.startswith("helm"):
                with self.subTest(name):
                    self.assertEqual(option(objects, "Pod_Facts") == "true", PODS in self.rules(objects))

    def test_the_components_differ_from_the_base_in_settings_and_rule_only(self):
        def rest(name):
            objects = kustomization(name)
            (kept,) = [thing for thing in of_kind(objects, "ConfigMap") if "KAFKA_BROKERS" in thing["data"]]
            others = [thing for thing in objects if thing["kind"] != "ClusterRole" and thing is not kept]
            # Its name ends in a hash of its content, and the DaemonSet has that name.
            return yaml.safe_dump_all(others).replace(kept["metadata"]["name"], "settings")

        for name, changed in WITH_PODS.items():
            with self.subTest(name):
                self.assertEqual(rest(name), rest("base"))
                self.assertEqual(settings(kustomization(name)), {**settings(kustomization("base")), **changed})

    def test_metrics_with_facts_add_exactly_nodes_pods(self):
        for name in ("prometheus", "otlp"):
            with self.subTest(name), tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
                up = os.path.relpath(KUBERNETES, folder)
                text = {
                    "resources": [f"{up}/base"],
                    "components": [f"{up}/components/{name}", f"{up}/components/with-pods"],
                }
                Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(text))
                objects = kustomization(folder)
                self.assertEqual(self.rules(objects), [STATS, PODS])
                self.assertEqual(option(objects, "Pod_Facts"), "true")
                self.assertEqual(option(objects, "Format"), "metrics")

    def test_the_rules_of_the_helm_values(self):
        text = (HELM / "rbac.yaml").read_text()
        rules = [thing["rules"] for thing in yaml.safe_load_all(text) if "rules" in thing]
        self.assertEqual(rules, [[STATS]])
        # And with the rule that stands there as a comment.
        added = re.sub(r"(?m)^  # (- apiGroups|  resources|  verbs)", r"  \1", text)
        rules = [thing["rules"] for thing in yaml.safe_load_all(added) if "rules" in thing]
        self.assertEqual(rules, [[STATS, PODS]])

    def test_the_helm_values_ask_for_no_facts_unless_told(self):
        values = yaml.safe_load((HELM / "values.yaml").read_text())
        given = {variable["name"]: variable.get("value") for variable in values["env"]}
        expected = {"POD_FACTS": "false", "POD_LABELS": "", "LABEL_SELECTOR": ""}
        self.assertEqual({name: given[name] for name in expected}, expected)

    def test_metrics_have_no_more_than_the_defaults_unless_told(self):
        objects = kustomization("overlays/prometheus")
        given = {key: option(objects, key) for key in ("Fields", "Kube_State_Metrics", "Cluster")}
        self.assertEqual(given, {"Fields": "", "Kube_State_Metrics": "", "Cluster": ""})
        self.assertEqual(option(kustomization("overlays/otlp"), "Cluster"), "")
        values = yaml.safe_load((HELM / "values.yaml").read_text())
        given = {variable["name"]: variable.get("value") for variable in values["env"]}
        expected = {"FIELDS": "", "KUBE_STATE_METRICS": "", "CLUSTER": ""}
        self.assertEqual({name: given[name] for name in expected}, expected)

    def test_an_overlay_of_ones_own_sets_them(self):
        wanted = {"FIELDS": "all", "KUBE_STATE_METRICS": "true", "CLUSTER": "east"}
        with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
            up = os.path.relpath(KUBERNETES, folder)
            text = {
                "resources": [f"{up}/base"],
                "components": [f"{up}/components/prometheus", f"{up}/components/with-pods", "own"],
            }
            own = {
                "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                "kind": "Component",
                "configMapGenerator": [{
                    "name": "kubeletstats-settings",
                    "namespace": "kubeletstats",
                    "behavior": "merge",
                    "literals": ["=".join(pair) for pair in wanted.items()],
                }],
            }
            Path(folder, "own").mkdir()
            Path(folder, "own/kustomization.yaml").write_text(yaml.safe_dump(own))
            Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(text))
            objects = kustomization(folder)
            self.assertEqual(
                [option(objects, key) for key in ("Fields", "Kube_State_Metrics", "Cluster", "Pod_Facts")],
                ["all", "true", "east", "true"],
            )

    def test_job_pods_are_chosen_by_their_label_alone(self):
        objects = kustomization("overlays/job-pods")
        expected = {
            "Pod_Facts": "true",
            "Label_Selector": "job_type",
            "Pod_Labels": "job_type",
            "Namespace": "",
            "Pod_Prefix": "",
            "Interval": "2000ms",
        }
        self.assertEqual({key: option(objects, key) for key in expected}, expected)

    def test_only_the_agent_gets_a_token(self):
        for name, objects in sets().items():
            for pod, template in pods(objects):
                if not (name.startswith("helm") or template["spec"].get("serviceAccountName") == "kubeletstats"):
                    with self.subTest(f"{name}: {pod}"):
                        self.assertIs(template["spec"]["automountServiceAccountToken"], False)


class Hardening(unittest.TestCase):
    def containers(self):
        for name, objects in sets().items():
            for pod, template in pods(objects):
                spec = template["spec"]
                for container in spec.get("initContainers", []) + spec["containers"]:
                    yield name, pod, spec, container

    def test_every_container(self):
        for name, pod, spec, container in self.containers():
            with self.subTest(f"{name}: {pod}/{container['name']}"):
                own = container["securityContext"]
                effective = {**spec["securityContext"], **own}
                added = ROOT_CONTAINERS.get((name, container["name"]), [])
                self.assertIs(effective["runAsNonRoot"], not added)
                self.assertEqual(effective["runAsUser"] == 0, bool(added))
                self.assertEqual(own["capabilities"]["drop"], ["ALL"])
                self.assertEqual(own["capabilities"].get("add", []), added)
                self.assertIs(own["allowPrivilegeEscalation"], False)
                self.assertEqual(effective["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertNotIn("privileged", own)
                self.assertEqual(own.get("readOnlyRootFilesystem", False), pod not in WRITES_TO_ITS_ROOT)
                self.assertIn("memory", container["resources"]["limits"])
                self.assertIn("cpu", container["resources"]["requests"])

    def test_no_namespace_of_the_node(self):
        for name, pod, spec, _ in self.containers():
            with self.subTest(f"{name}: {pod}"):
                for key in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertFalse(spec.get(key, False), key)

    def test_what_is_mounted_of_the_node(self):
        expected = {
            "overlays/kind": {"/var/lib/kubelet/pki"},
            "overlays/production": {"/var/lib/kubeletstats"},
        }
        for name, objects in with_agent().items():
            with self.subTest(name):
                volumes = agent(objects)["spec"]["volumes"]
                found = {volume["hostPath"]["path"] for volume in volumes if "hostPath" in volume}
                self.assertEqual(found, expected.get(name, set()))
                # The namespace admits the pod: hostPath is outside restricted and baseline.
                for namespace in of_kind(objects, "Namespace"):
                    level = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
                    self.assertEqual(level, "privileged" if found else "restricted")


class Wiring(unittest.TestCase):
    """What no schema sees: one part naming another."""

    def test_volumes_ports_and_configuration(self):
        for name, objects in sets().items():
            maps = {thing["metadata"]["name"] for thing in of_kind(objects, "ConfigMap")} | {"kube-root-ca.crt"}
            for pod, template in pods(objects):
                with self.subTest(f"{name}: {pod}"):
                    spec = template["spec"]
                    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
                    used = set()
                    for container in spec.get("initContainers", []) + spec["containers"]:
                        used |= {mount["name"] for mount in container.get("volumeMounts", [])}
                        ports = {port["name"] for port in container.get("ports", [])}
                        for probe in ("livenessProbe", "readinessProbe"):
                            action = container.get(probe, {})
                            for kind in ("httpGet", "tcpSocket"):
                                if kind in action:
                                    self.assertIn(action[kind]["port"], ports)
                        for source in container.get("envFrom", []):
                            self.assertIn(source["configMapRef"]["name"], maps)
                    self.assertEqual(used, set(volumes))
                    for volume in volumes.values():
                        if "configMap" in volume:
                            self.assertIn(volume["configMap"]["name"], maps)

    def test_selectors(self):
        for name, objects in sets().items():
            labels = {pod: template["metadata"]["labels"] for pod, template in pods(objects)}
            for thing in of_kind(objects, "DaemonSet", "Deployment", "Service", "NetworkPolicy"):
                with self.subTest(f"{name}: {thing['kind']}/{thing['metadata']['name']}"):
                    spec = thing["spec"]
                    selector = spec.get("podSelector") or spec["selector"]
                    wanted = selector.get("matchLabels", selector).items()
                    self.assertTrue(any(wanted <= found.items() for found in labels.values()))

    def test_the_same_input_filter_and_outputs_everywhere(self):
        shipped = [section for section in sections(SHIPPED) if section[0] != "[SERVICE]"]
        self.assertEqual([name for name, _ in shipped], ["[INPUT]", "[FILTER]", "[OUTPUT]", "[OUTPUT]"])
        for name, objects in with_agent().items():
            with self.subTest(name):
                found = [section for section in sections(configuration(objects)) if section[0] != "[SERVICE]"]
                if name in METRICS:
                    self.assert_metrics(name, found, shipped)
                elif name in WITHOUT_STDOUT:
                    self.assertEqual(found, [section for section in shipped if "name stdout" not in section[1]])
                else:
                    self.assertEqual(found, shipped)
        with self.subTest("fluent-bit.conf"):
            classic = (ROOT / "fluent-bit.conf").read_text()
            self.assertEqual(sections(classic), sections(SHIPPED))
        with self.subTest("helm values as text"):
            config = yaml.safe_load((HELM / "values.yaml").read_text())["config"]
            self.assertEqual(sections(config["inputs"] + config["filters"] + config["outputs"]), shipped)
            in_yaml = yaml.safe_load((HELM / "values-yaml.yaml").read_text())["config"]["extraFiles"]["fluent-bit.yaml"]
            # What the chart puts in itself.
            in_yaml = re.sub(r"\{\{ \.Values\.(\w+) \}\}", r"\1", in_yaml)
            classic = re.sub(r"\{\{ \.Values\.(\w+) \}\}", r"\1", config["service"])
            self.assertEqual(sections(in_yaml)[1:], shipped)
            self.assertEqual([[word.lower() for word in lines] for _, lines in sections(in_yaml)[:1]],
                             [[word.lower() for word in lines] for _, lines in sections(classic)])

    def assert_metrics(self, name, found, shipped):
        """The shipped input with what makes it one of metrics, and one output."""
        self.assertEqual([section for section, _ in found], ["[INPUT]", "[OUTPUT]"])
        (_, input_lines), (_, output) = found
        stored = "storage.type filesystem"
        self.assertEqual([line for line in input_lines if line not in METRICS[name] + [stored]],
                         [line for line in shipped[0][1] if line != stored])
        self.assertLessEqual(set(METRICS[name]), set(input_lines))
        kind = output[0].split()[1]
        self.assertEqual(kind, {"prometheus": "prometheus_exporter", "otlp": "opentelemetry"}[re.split("[/ ]", name)[-1]])
        # An exporter keeps the last page, and no more.
        self.assertEqual(stored in input_lines, kind == "opentelemetry")

    def test_the_helm_values_of_metrics_as_text(self):
        shipped = [section for section in sections(SHIPPED) if section[0] != "[SERVICE]"]
        for name in ("prometheus", "otlp"):
            with self.subTest(name):
                config = yaml.safe_load((HELM / f"values-{name}.yaml").read_text())["config"]
                found = sections(config["inputs"] + config["filters"] + config["outputs"])
                self.assert_metrics(f"helm, {name}", found, shipped)

    def test_prometheus_finds_the_page(self):
        objects = kustomization("overlays/prometheus")
        port = setting(configuration(objects), "[OUTPUT]", "Port")
        pod = agent(objects)
        (container,) = pod["spec"]["containers"]
        named = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
        self.assertEqual(named, {"http": 2020, "metrics": int(port)})
        annotations = pod["metadata"]["annotations"]
        self.assertEqual(
            {key: value for key, value in annotations.items() if key.startswith("prometheus.io/")},
            {"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": "/metrics"},
        )
        (policy,) = of_kind(objects, "NetworkPolicy")
        self.assertEqual(self.ports(policy["spec"]["ingress"]), {2020, int(port)})
        monitor = yaml.safe_load((KUBERNETES / "components/prometheus/podmonitor.example.yaml").read_text())
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        self.assertLessEqual(labels, pod["metadata"]["labels"].items())
        self.assertEqual(monitor["metadata"]["namespace"], "kubeletstats")
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        self.assertEqual((endpoint["port"], endpoint["path"], endpoint["honorLabels"]), ("metrics", "/metrics", True))
        values = yaml.safe_load((HELM / "values-prometheus.yaml").read_text())
        self.assertEqual(values["podAnnotations"], annotations)
        self.assertEqual(values["extraPorts"][0]["containerPort"], int(port))
        self.assertEqual(setting(values["config"]["outputs"], "[OUTPUT]", "Port"), port)

    @staticmethod
    def ports(rules):
        return {port["port"] for rule in rules for port in rule["ports"]}

    def test_metrics_go_where_they_may(self):
        expected = {"overlays/prometheus": {10250, 53}, "overlays/otlp": {10250, 53, 4318}, "base": {10250, 53, 9092}}
        for name, ports in expected.items():
            with self.subTest(name):
                (policy,) = of_kind(kustomization(name), "NetworkPolicy")
                self.assertEqual(self.ports(policy["spec"]["egress"]), ports)
        self.assertEqual(settings(kustomization("overlays/otlp"))["OTLP_PORT"], "4318")

    def test_the_component_without_stdout_changes_no_more(self):
        service = [
            section
            for name in ("base", "overlays/production")
            for section in sections(configuration(kustomization(name)))
            if section[0] == "[SERVICE]"
        ]
        self.assertEqual(*service)

    def test_the_classic_component_changes_the_format_and_no_more(self):
        with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
            up = os.path.relpath(KUBERNETES, folder)
            text = {"resources": [f"{up}/base"], "components": [f"{up}/components/classic"]}
            Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(text))
            classic, base = kustomization(folder), kustomization("base")
        conf = configuration(classic)
        self.assertTrue(conf.startswith("#") and "[SERVICE]" in conf)
        lower = [[(name, [line.lower() for line in lines]) for name, lines in sections(one)] for one in (conf, configuration(base))]
        self.assertEqual(*lower)
        spec, other = (agent(objects)["spec"] for objects in (classic, base))
        (container,) = spec["containers"]
        (file,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "config"]
        self.assertEqual(container.pop("args"), ["-c", file])
        self.assertEqual(file, "/fluent-bit/etc/fluent-bit.conf")
        same = yaml.safe_dump(other).replace("fluent-bit.yaml", "fluent-bit.conf")
        hashed = re.compile(r"kubeletstats-config-\w+")
        self.assertEqual(hashed.sub("config", yaml.safe_dump(spec)), hashed.sub("config", same))
        for thing in classic:
            for version in KUBERNETES_VERSIONS:
                self.assertEqual(kubernetes_validate.validate(thing, version, strict=True), version)

    def test_every_variable_of_the_configuration_is_set(self):
        for name, objects in with_agent().items():
            with self.subTest(name):
                data = {thing["metadata"]["name"]: thing["data"] for thing in of_kind(objects, "ConfigMap")}
                (container,) = agent(objects)["spec"]["containers"]
                given = {variable["name"] for variable in container.get("env", [])}
                for source in container.get("envFrom", []):
                    given |= set(data[source["configMapRef"]["name"]])
                # METRICS_REGION and the like may be empty; none may be missing, or the image's own would count.
                self.assertEqual(variables(configuration(objects)) - given - {"NODE_NAME"}, set())
                self.assertIn("NODE_NAME", given)

    def test_storage_and_stopping(self):
        for name, objects in with_agent().items():
            with self.subTest(name):
                conf = configuration(objects)
                spec = agent(objects)["spec"]
                if name == "overlays/prometheus":
                    self.assertNotIn("storage", conf)
                    self.assertNotIn("emptyDir", str(spec))
                    continue
                if name == "helm, prometheus":
                    continue
                # With Kafka away Grace is used twice, by the engine and by Kafka's client; half of the time is room.
                grace = int(setting(conf, "[SERVICE]", "Grace"))
                self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], 2 * 2 * grace)
                (container,) = spec["containers"]
                (mount,) = [
                    mount
                    for mount in container["volumeMounts"]
                    if mount["mountPath"] == setting(conf, "[SERVICE]", "storage.path")
                ]
                self.assertFalse(mount.get("readOnly", False))
                (volume,) = [volume for volume in spec["volumes"] if volume["name"] == mount["name"]]
                limits = [
                    line.split()[1]
                    for _, lines in sections(conf)
                    for line in lines
                    if line.startswith("storage.total_limit_size")
                ]
                self.assertEqual(len(limits), 1)
                if "emptyDir" in volume:
                    self.assertGreater(size(volume["emptyDir"]["sizeLimit"]), size(limits[0]))

    def test_probes_find_the_server(self):
        for name, objects in with_agent().items():
            with self.subTest(name):
                conf = configuration(objects)
                (container,) = agent(objects)["spec"]["containers"]
                self.assertEqual(setting(conf, "[SERVICE]", "HTTP_Server").lower(), "on")
                self.assertEqual(setting(conf, "[SERVICE]", "Health_Check").lower(), "on")
                (port,) = [port["containerPort"] for port in container["ports"] if port["name"] == "http"]
                self.assertEqual(int(setting(conf, "[SERVICE]", "HTTP_Port")), port)
                self.assertTrue(container["readinessProbe"]["httpGet"]["path"].endswith("/health"))
                self.assertIn("livenessProbe", container)

    def test_self_signed_kubelets_are_checked_nevertheless(self):
        objects = kustomization("overlays/kind")
        given = settings(objects)
        mounts = agent(objects)["spec"]["containers"][0]["volumeMounts"]
        self.assertEqual(given["ALLOW_INSECURE_TLS"], "false")
        # The path that `kubeletstats check` and the documentation name.
        self.assertEqual(given["KUBELET_CA_FILE"], "/var/lib/kubelet/pki/kubelet.crt")
        (mount,) = [mount for mount in mounts if given["KUBELET_CA_FILE"].startswith(mount["mountPath"])]
        self.assertIs(mount["readOnly"], True)
        self.assertNotIn("subPath", mount)

    def test_what_changes_on_the_node_is_mounted_by_its_folder(self):
        for name, objects in sets().items():
            for pod, template in pods(objects):
                for volume in template["spec"].get("volumes", []):
                    if "hostPath" in volume:
                        with self.subTest(f"{name}: {pod}/{volume['name']}"):
                            # A file mounted alone is the inode it was when the pod started.
                            self.assertIn(volume["hostPath"]["type"], ("Directory", "DirectoryOrCreate"))

    def test_what_the_helm_values_say_of_self_signed_kubelets(self):
        text = (HELM / "values.yaml").read_text()
        (volume,) = re.findall(r"(?m)^  # - name: kubelet-pki\n  #   hostPath:\n((?:  #     .*\n)+)", text)
        self.assertEqual(
            yaml.safe_load(volume.replace("#", " ")), {"path": "/var/lib/kubelet/pki", "type": "Directory"}
        )
        (mount,) = re.findall(r"(?m)^  # - name: kubelet-pki\n((?:  #   (?:mountPath|readOnly).*\n)+)", text)
        self.assertEqual(
            yaml.safe_load(mount.replace("#", " ")), {"mountPath": "/var/lib/kubelet/pki", "readOnly": True}
        )

    def test_a_namespace_comes_before_what_is_in_it(self):
        for name, objects in sets().items():
            seen = set()
            for thing in objects:
                if thing["kind"] == "Namespace":
                    seen.add(thing["metadata"]["name"])
                elif of_kind(objects, "Namespace") and thing["metadata"].get("namespace", "default") != "default":
                    with self.subTest(f"{name}: {thing['kind']}/{thing['metadata']['name']}"):
                        self.assertIn(thing["metadata"]["namespace"], seen)


class HelmChart(unittest.TestCase):
    def setUp(self):
        if "HELM_CHART" not in os.environ:
            self.skipTest("HELM_CHART names no chart: the values were not rendered")

    def test_every_value_is_one_the_chart_knows(self):
        known = yaml.safe_load(Path(os.environ["HELM_CHART"], "values.yaml").read_text())
        # Free-form in the chart: anything that Kubernetes takes, or files by name.
        free = {"resources", "podSecurityContext", "securityContext", "podAnnotations", "nodeSelector", "extraFiles"}

        def compare(given, chart, path):
            for key, value in given.items():
                self.assertIn(key, chart, path)
                if isinstance(value, dict) and key not in free:
                    compare(value, chart[key], f"{path}.{key}")

        for file in ("values.yaml", "values-init-container.yaml", "values-prometheus.yaml", "values-otlp.yaml", "values-yaml.yaml"):
            compare(yaml.safe_load((HELM / file).read_text()), known, file)

    def test_the_images(self):
        images = [agent(helm(name))["spec"]["containers"][0]["image"] for name in ("helm", "helm, init container")]
        self.assertEqual(images, ["fluent-bit-kubeletstats:0.1.0", "fluent/fluent-bit:5.1.1"])

    def test_the_plugin_is_where_the_configuration_looks(self):
        for name in ("helm", "helm, init container"):
            (files,) = [
                thing["data"] for thing in of_kind(helm(name), "ConfigMap") if "fluent-bit.conf" in thing["data"]
            ]
            self.assertEqual(
                setting(files["plugins.conf"], "[PLUGINS]", "Path"), "/fluent-bit/plugins/flb-in_kubeletstats.so"
            )
        mounts = agent(helm("helm, init container"))["spec"]["containers"][0]["volumeMounts"]
        self.assertIn("/fluent-bit/plugins", [mount["mountPath"] for mount in mounts])
