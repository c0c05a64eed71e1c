"""The chart deploy/helm/kubeletstats: beside the manifests of deploy/kubernetes/base, and its fluent-bit.yaml in real
Fluent Bits against the simulated kubelet. Needs helm (`make helm`); schemas and hardening of what it renders
are in manifests.py. Run by deploy/validate."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from contextlib import ExitStack
from pathlib import Path

import yaml

import manifests
from manifests import PODS, STATS, agent, settings
from metrics import fluent_bits, free_port, get, need, running, until
from rendering import (
    CHART, CHART_VARIANTS, HELM, ROOT, chart, chart_text, documents, kustomization, of_kind, pods, run, with_values,
)

# The first release that knows the section `plugins` of a YAML configuration.
YAML_SINCE = (3, 2)
PROXY = {"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}


def setUpModule():
    if not shutil.which("helm"):
        said = "the chart: NOT RUN, there is no helm, and no Go for make to build it with"
        print(said, file=sys.stderr)
        raise unittest.SkipTest(said)


def merged(*values):
    """As helm merges what several -f give: maps by key, the rest as a whole."""
    result = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def rendered(values):
    return documents(chart_text(values))


def only(objects, kind):
    (found,) = of_kind(objects, kind)
    return found


def read(text):
    """A configuration in YAML as Fluent Bit reads it: every scalar is text."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def configuration(objects):
    return read(only(objects, "ConfigMap")["data"]["fluent-bit.yaml"])


def ports(rules):
    """The ports of each rule of a NetworkPolicy."""
    return [[port["port"] for port in rule["ports"]] for rule in rules]


class Lint(unittest.TestCase):
    def test_helm_lint_of_every_variant(self):
        for name, values in CHART_VARIANTS.items():
            with self.subTest(name):
                with_values(values, "lint", "--strict", CHART)
        version = run("helm", "version", "--short").strip()
        print(f"\nhelm {version} lint --strict: {len(CHART_VARIANTS)} sets of values")

    def test_the_schema_knows_the_values_and_no_others(self):
        schema = json.loads((CHART / "values.schema.json").read_text())

        def compare(values, schema, path):
            known = schema["properties"]
            self.assertIs(schema["additionalProperties"], False, path)
            self.assertEqual(set(values) | ({"global"} & set(known)), set(known), path)
            for key, value in values.items():
                if "properties" in known[key]:
                    compare(value, known[key], f"{path}.{key}")

        compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "values")

    def test_what_is_refused(self):
        cases = [
            ({"namespace": ["a"]}, "additional properties 'namespace' not allowed"),
            ({"namespaces": ["kube-*"]}, "/namespaces/0"),
            ({"namespaces": "default"}, "got string, want array"),
            ({"outputs": {"kafka": {"brokers": []}}}, "/outputs/kafka/brokers"),
            ({"outputs": {"kafka": {"brokers": ["a:9092,b:9092"]}}}, "/outputs/kafka/brokers/0"),
            ({"podFacts": {"right": "nodes"}}, "/podFacts/right"),
            ({"kubelet": {"interval": 10}}, "/kubelet/interval"),
            ({"options": {"Interval": "5s"}}, "'Interval' does not match"),
            ({"extraOutputs": [{"name": "loki"}]}, "missing property 'match'"),
            ({"imageRegistry": "https://registry.example.com"}, "/imageRegistry"),
            ({"podFacts": {"labels": ["app"]}}, "labels are known with podFacts.enabled only"),
            ({"pluginImage": {"enabled": True}}, "image.tag is empty"),
            ({"outputs": {"prometheus": {"enabled": True}, "otlp": {"enabled": True}}}, "enable one of them"),
            ({"outputs": {"kafka": {"enabled": False}, "stdout": {"enabled": False}}}, "no output is enabled"),
        ]
        for values, expected in cases:
            with self.subTest(expected), self.assertRaises(RuntimeError) as refused:
                chart_text(values)
            self.assertIn(expected, str(refused.exception))


class BesideTheManifests(unittest.TestCase):
    """The defaults are those of deploy/kubernetes/base, where both say something."""

    @classmethod
    def setUpClass(cls):
        cls.base, cls.chart = kustomization("base"), chart("chart")

    def test_the_pod(self):
        base, ours = agent(self.base)["spec"], agent(self.chart)["spec"]
        # A PriorityClass is the cluster's, so the chart makes none; it names what there is.
        differ = {"containers", "volumes", "priorityClassName"}
        self.assertEqual({key: ours[key] for key in ours if key not in differ}, {key: base[key] for key in base if key not in differ})
        self.assertEqual(ours["volumes"][-1], base["volumes"][-1])
        (base,), (ours,) = base["containers"], ours["containers"]
        differ = {"args", "command", "env", "envFrom", "volumeMounts"}
        self.assertEqual({key: ours[key] for key in ours if key not in differ}, {key: base[key] for key in base if key not in differ})
        # The base has two more, which the chart writes into the configuration.
        self.assertEqual(ours["env"], [each for each in base["env"] if not each["name"].startswith("KUBELET_")])
        self.assertEqual(ours["args"][1], ours["volumeMounts"][0]["mountPath"])
        self.assertEqual(ours["volumeMounts"][-1], base["volumeMounts"][-1])

    def test_the_daemonset_the_account_and_the_policy(self):
        strategies = [only(objects, "DaemonSet")["spec"]["updateStrategy"] for objects in (self.base, self.chart)]
        self.assertEqual(*strategies)
        accounts = [only(objects, "ServiceAccount")["automountServiceAccountToken"] for objects in (self.base, self.chart)]
        self.assertEqual(accounts, [False, False])
        policies = [only(objects, "NetworkPolicy")["spec"] for objects in (self.base, self.chart)]
        # Whose pods these are follows from the labels, which differ.
        self.assertEqual(*({key: policy[key] for key in policy if key != "podSelector"} for policy in policies))

    def test_the_pipeline(self):
        self.assertEqual(configuration(self.chart)["pipeline"], self.shipped())

    def shipped(self):
        """The pipeline of fluent-bit.yaml with the variables of the base, as the chart would write it."""
        (container,) = agent(self.base)["spec"]["containers"]
        given = {**settings(self.base), **{each["name"]: each["value"] for each in container["env"] if "value" in each}}
        text = (ROOT / "fluent-bit.yaml").read_text()
        # What the pod's own variables say stays a variable; Kubernetes writes them with round brackets.
        text = re.sub(r"\$\{(\w+)\}", lambda found: re.sub(r"\$\((\w+)\)", r"${\1}", given.get(found[1], found[0])), text)
        pipeline = read(text)["pipeline"]
        (options,) = pipeline["inputs"]
        for key in ("interval", "timeout"):
            options[key] = re.sub(r"000ms$", "s", options[key])
        # An empty value and false are the defaults of the options that the base sets so.
        pipeline["inputs"] = [{key: value for key, value in options.items() if value not in ("", "false")}]
        return pipeline

    def test_the_service(self):
        base = read(manifests.configuration(self.base))
        self.assertEqual(configuration(self.chart)["service"], base["service"])


class Values(unittest.TestCase):
    def test_rights_are_those_that_the_values_need(self):
        facts = {"podFacts": {"enabled": True}}
        cases = [
            ({}, [STATS]),
            (CHART_VARIANTS["chart, otlp"], [STATS]),
            (facts, [STATS, PODS]),
            (merged(facts, {"podFacts": {"right": "nodes/proxy"}}), [STATS, PROXY]),
        ]
        for values, rules in cases:
            with self.subTest(values=values):
                objects = rendered(values)
                self.assertEqual(only(objects, "ClusterRole")["rules"], rules)
                self.assertEqual(of_kind(objects, "Role", "RoleBinding"), [])
                binding = only(objects, "ClusterRoleBinding")
                self.assertEqual(binding["roleRef"]["name"], only(objects, "ClusterRole")["metadata"]["name"])
                account = {"kind": "ServiceAccount", "name": "kubeletstats", "namespace": "kubeletstats"}
                self.assertEqual(binding["subjects"], [account])
                self.assertEqual({pod["spec"]["serviceAccountName"] for _, pod in pods(objects)}, {"kubeletstats"})
                self.assertEqual(only(objects, "ServiceAccount")["metadata"]["name"], "kubeletstats")

    def test_the_policy_follows_the_ports(self):
        def kafka(*brokers):
            return {"outputs": {"kafka": {"brokers": list(brokers)}}}

        dns = [53, 53]
        cases = [
            (kafka("a:9092", "b:9092"), [2020], [[10250], dns, [9092]]),
            (kafka("a:9093", "b:19094", "c", "[2001:db8::1]:9095", "[2001:db8::2]"), [2020], [[10250], dns, [9093, 19094, 9092, 9095]]),
            ({"kubelet": {"url": "https://[${NODE_IP}]:10260"}}, [2020], [[10260], dns, [9092]]),
            ({"kubelet": {"url": "https://kubernetes.default.svc/api/v1/nodes/a:b/proxy"}}, [2020], [[443], dns, [9092]]),
            (CHART_VARIANTS["chart, prometheus"], [2020, 2021], [[10250], dns]),
            (merged(CHART_VARIANTS["chart, otlp"], {"outputs": {"otlp": {"port": 443}}}), [2020], [[10250], dns, [443]]),
            (CHART_VARIANTS["chart, production"], [2020], [[10250], dns, [9093, 9094], [3100]]),
        ]
        for values, ingress, egress in cases:
            with self.subTest(values=values):
                policy = only(rendered(values), "NetworkPolicy")["spec"]
                self.assertEqual(ports(policy["ingress"]), [ingress])
                self.assertEqual(ports(policy["egress"]), egress)
        self.assertEqual(of_kind(rendered({"networkPolicy": {"enabled": False}}), "NetworkPolicy"), [])

    def test_images_come_from_the_registry(self):
        values = merged(
            CHART_VARIANTS["chart, production"],
            {"pluginImage": {"enabled": True, "tag": "0.1.1"}, "image": {"repository": "fluent/fluent-bit", "tag": "5.1.1"}},
        )
        mirror = "registry.example.com:5000/mirror"
        found = {
            container["image"]
            for _, pod in pods(rendered(values))
            for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        }
        expected = {f"{mirror}/fluent/fluent-bit:5.1.1", f"{mirror}/kubeletstats-plugin:0.1.1", f"{mirror}/busybox:1.37"}
        self.assertEqual(found, expected)

    def test_the_plugin_image_brings_what_the_pod_runs(self):
        (stage,) = re.findall(r"(?ms)^FROM \$\{BUSYBOX_IMAGE\}:\S+ AS plugin\n(.*?)\n\n", (ROOT / "Dockerfile").read_text())
        (copied,) = re.findall(r"(?m)^COPY --from=build (.*) /$", stage)
        files = {Path(path).name for path in copied.split()}
        (command,) = re.findall(r"(?m)^CMD (.*)$", stage)
        self.assertEqual(json.loads(command), ["cp", *(f"/{name}" for name in sorted(files)), "/plugins/"])
        objects = chart("chart, plugin image")
        (plugin,) = configuration(objects)["plugins"]
        ours = [(pod["spec"]["initContainers"], pod["spec"]["containers"]) for _, pod in pods(objects)]
        theirs = yaml.safe_load((HELM / "values-init-container.yaml").read_text())
        ours.append((theirs["initContainers"], [{"volumeMounts": theirs["extraVolumeMounts"]}]))
        for (init,), (container,) in ours:
            self.assertEqual([mount["mountPath"] for mount in init["volumeMounts"]], ["/plugins"])
            (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == init["volumeMounts"][0]["name"]]
            self.assertEqual({f"{mount['mountPath']}/{name}" for name in files}, {plugin, "/fluent-bit/plugins/kubeletstats"})
        self.assertEqual(only(objects, "Pod")["spec"]["containers"][0]["command"], ["/fluent-bit/plugins/kubeletstats"])

    def test_the_pod_of_the_test_is_none_of_the_daemonsets(self):
        for name in CHART_VARIANTS:
            with self.subTest(name):
                objects = chart(name)
                labels = only(objects, "Pod")["metadata"]["labels"].items()
                selector = only(objects, "DaemonSet")["spec"]["selector"]["matchLabels"].items()
                self.assertFalse(selector <= labels)
                self.assertLessEqual(selector, agent(objects)["metadata"]["labels"].items())

    def test_prometheus_finds_the_page(self):
        annotations = agent(chart("chart, prometheus"))["metadata"]["annotations"]
        self.assertEqual(annotations["prometheus.io/port"], "2021")
        monitored = merged(
            CHART_VARIANTS["chart, prometheus"],
            {"outputs": {"prometheus": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}},
        )
        objects = rendered(monitored)
        self.assertNotIn("prometheus.io/port", agent(objects)["metadata"]["annotations"])
        monitor = only(objects, "PodMonitor")
        selector = monitor["spec"]["selector"]["matchLabels"].items()
        self.assertLessEqual(selector, agent(objects)["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        example = yaml.safe_load((ROOT / "deploy/kubernetes/components/prometheus/podmonitor.example.yaml").read_text())
        self.assertEqual(endpoint, example["spec"]["podMetricsEndpoints"][0])
        self.assertLessEqual(example["metadata"]["labels"].items(), monitor["metadata"]["labels"].items())
        (container,) = agent(objects)["spec"]["containers"]
        self.assertIn({"name": endpoint["port"], "containerPort": 2021}, container["ports"])

    def test_a_release_of_another_name(self):
        objects = documents(chart_text(CHART_VARIANTS["chart, production"], release="east"))
        names = {thing["metadata"]["name"] for thing in objects}
        self.assertEqual(names, {"east-kubeletstats", "east-kubeletstats-check"})
        for _, pod in pods(objects):
            self.assertEqual(pod["spec"]["serviceAccountName"], "east-kubeletstats")
            self.assertEqual(pod["spec"]["volumes"][0]["configMap"]["name"], "east-kubeletstats")
        binding = only(objects, "ClusterRoleBinding")
        self.assertEqual((binding["roleRef"]["name"], binding["subjects"][0]["name"]), ("east-kubeletstats",) * 2)
        policy = only(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
        for _, pod in pods(objects):
            self.assertLessEqual(policy, pod["metadata"]["labels"].items())
        self.assertFalse(policy <= agent(chart("chart, production"))["metadata"]["labels"].items())

    def test_a_change_of_the_configuration_rolls_the_pods(self):
        sums = {agent(objects)["metadata"]["annotations"]["checksum/config"] for objects in map(chart, CHART_VARIANTS)}
        # Only the image differs in one of them.
        self.assertEqual(len(sums), len(CHART_VARIANTS) - 1)


class Running(unittest.TestCase):
    """The rendered configuration in real Fluent Bits. Only paths and ports are replaced."""

    @classmethod
    def setUpClass(cls):
        cls.plugin, cls.sim, cls.command = need(
            "plugin (make build)", "sim-kubelet (make tools)", "kubeletstats (make tools)"
        )
        cls.hosts = list(fluent_bits(YAML_SINCE))
        if not cls.hosts:
            said = "NOT RUN: there is no Fluent Bit 3.2 or later for the chart's fluent-bit.yaml"
            print(said, file=sys.stderr)
            raise unittest.SkipTest(said)
        print(f"\nthe chart's fluent-bit.yaml runs on {', '.join(map(str, cls.hosts))}")
        cls.stack = ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.folder = Path(cls.stack.enter_context(tempfile.TemporaryDirectory(prefix="chart-")))
        log = cls.stack.enter_context(running(
            cls.folder, "kubelet", cls.sim, "--listen=127.0.0.1:0", "--sample-period=2s", f"--dir={cls.folder}/kubelet"
        ))
        port = until("the simulated kubelet", lambda: re.search(r"https://127.0.0.1:(\d+)", log.read_text()), log)[1]
        # What the service account and the node have in a pod.
        cls.here = {
            "kubelet": {"url": "https://${NODE_IP}:" + port, "interval": "1s", "timeout": "900ms"},
            "options": {"kube_token_file": f"{cls.folder}/kubelet/token", "kube_ca_file": f"{cls.folder}/kubelet/ca.crt"},
        }

    def start(self, stack, host, values):
        """What a host says with the configuration of these values, and the port of its HTTP server."""
        text = only(rendered(merged(values, self.here)), "ConfigMap")["data"]["fluent-bit.yaml"]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder)))
        http = free_port()
        for there, here in [
            ("/fluent-bit/plugins/flb-in_kubeletstats.so", str(self.plugin)),
            ("/fluent-bit/storage", f"{folder}/storage"),
            ("http_port: 2020", f"http_port: {http}"),
        ]:
            if "storage" not in there or "storage.path" in text:
                self.assertEqual(text.count(there), 1, there)
            text = text.replace(there, here)
        (folder / "fluent-bit.yaml").write_text(text)
        pod = ["env", "NODE_NAME=vm", "NODE_IP=127.0.0.1", "POD_IP=127.0.0.1"]
        log = stack.enter_context(running(folder, "fluent-bit", *pod, host, "-c", folder / "fluent-bit.yaml"))
        return log, http

    @staticmethod
    def records(log):
        """Those in the log; a line that is still being written is none yet."""
        found = []
        for line in log.read_text().splitlines():
            if line.startswith("{"):
                try:
                    found.append(json.loads(line))
                except json.JSONDecodeError:
                    pass
        return found

    def test_the_defaults_bring_records(self):
        # Nobody listens there: what waits for Kafka does not keep the records from the log.
        kafka = {"outputs": {"kafka": {"brokers": [f"127.0.0.1:{free_port()}"]}}}
        for host in self.hosts:
            with self.subTest(host), ExitStack() as stack:
                log, http = self.start(stack, host, kafka)
                found = until(f"{host}: records", lambda: self.records(log), log)
                self.assertTrue(found[0]["podName"].startswith("log-generator"), found[0])
                self.assertEqual((found[0]["nodeName"], found[0]["pipeline"]), ("vm", "fluent-bit"))
                self.assertIn("ok", get(f"http://127.0.0.1:{http}/api/v1/health"))

    def test_production_values_start(self):
        production = {key: value for key, value in CHART_VARIANTS["chart, production"].items() if key != "kubelet"}
        values = merged(production, {"outputs": {"stdout": {"enabled": True}, "kafka": {"brokers": [f"127.0.0.1:{free_port()}"]}}})
        for host in self.hosts:
            with self.subTest(host), ExitStack() as stack:
                log, _ = self.start(stack, host, values)
                record = until(f"{host}: records", lambda: self.records(log), log)[0]
                self.assertEqual((record["cluster"], record["metadata"]["region"]), ("east", "example-1"))
                self.assertNotIn("kube-system", {each["namespace"] for each in self.records(log)})

    def test_prometheus_has_its_page(self):
        port = free_port()
        page = {"outputs": {"prometheus": {"port": port}}}
        both = {"outputs": {"kafka": {"enabled": False}, "stdout": {"enabled": True}}}
        for host in self.hosts:
            with self.subTest(host), ExitStack() as stack:
                for more in ({}, both):
                    name = "chart, kafka and prometheus" if more else "chart, prometheus"
                    with ExitStack() as inner:
                        log, _ = self.start(inner, host, merged(CHART_VARIANTS[name], page, more))
                        text = until(
                            f"{host}: a page",
                            lambda: re.search(r'(?s).*kubeletstats_up\{.*?\} 1\b.*', get(f"http://127.0.0.1:{port}/metrics")),
                            log,
                        )[0]
                        # Alone it has every group; beside records it keeps to what records are of.
                        self.assertEqual("node_memory_working_set_bytes{" in text, not more)
                        self.assertIn('pod="log-generator', text)
                        if more:
                            record = until(f"{host}: records", lambda: self.records(log), log)[0]
                            self.assertNotIn("kind", record)

    def test_the_collector_gets_requests(self):
        for host in self.hosts:
            with self.subTest(host), ExitStack() as stack:
                collector = Collector()
                stack.callback(collector.stop)
                to = {"outputs": {"otlp": {"host": "127.0.0.1", "port": collector.port}}}
                log, _ = self.start(stack, host, merged(CHART_VARIANTS["chart, otlp"], to))
                body = until(f"{host}: a request", lambda: [each for each in collector.bodies if b"k8s.pod.memory" in each], log)[0]
                self.assertIn(b"k8s.node.name", body)

    def check(self, values):
        """What the pod of `helm test` runs, in its own words, and how that ends."""
        objects = rendered(values)
        (container,) = only(objects, "Pod")["spec"]["containers"]
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "config"]
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder, "fluent-bit.yaml")
            file.write_text(only(objects, "ConfigMap")["data"]["fluent-bit.yaml"])
            self.assertEqual(container["args"].count(mount["mountPath"]), 1)
            words = [str(file) if word == mount["mountPath"] else word for word in container["args"]]
            self.assertEqual(Path(container["command"][0]).name, self.command.name)
            environment = {**os.environ, "NODE_NAME": "vm", "NODE_IP": "127.0.0.1", "POD_IP": "127.0.0.1"}
            done = subprocess.run(
                [self.command, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
        return done.returncode, done.stdout + done.stderr

    def test_the_hook(self):
        wrong = self.folder / "wrong"
        wrong.write_text("wrong")
        cases = [
            ({}, 0, "verdict: metrics arrive"),
            # On a node without a pod that is wanted, too.
            ({"namespaces": ["shop"], "podPrefixes": ["web-"]}, 0, "verdict: metrics arrive"),
            (CHART_VARIANTS["chart, plugin image"], 0, "verdict: metrics arrive"),
            (CHART_VARIANTS["chart, otlp"], 0, "verdict: metrics arrive"),
            ({"options": {"kube_token_file": str(wrong)}}, 1, "401"),
            ({"options": {"server_name": "elsewhere"}}, 1, "FAIL  tls"),
        ]
        for values, expected, verdict in cases:
            with self.subTest(values=values):
                status, said = self.check(merged(self.here, values))
                self.assertEqual(status, expected, said)
                self.assertIn(verdict, said)


class Collector:
    """Takes what is posted, and keeps it."""

    def __init__(self):
        self.bodies = bodies = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
