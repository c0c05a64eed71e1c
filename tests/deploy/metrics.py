"""The dashboard of the metrics, the alerts, and what other people's dashboards find: on a real Prometheus that scrapes
a real Fluent Bit with the plugin, and the simulated kubelet.

Needs what `make build tools` builds, Fluent Bit 2.0 or later (FLUENT_BIT, the PATH, or where its package puts it),
and Prometheus with promtool. What is not there is said as NOT RUN, and with KUBELETSTATS_REQUIRE=1 it is a failure.
Run by deploy/validate, or alone, with Python's own library:

    python3 -B -m unittest discover -s tests/deploy -p metrics.py

PLUGIN and SIM_KUBELET name another plugin and simulated kubelet; DASHBOARDS=rewrite writes the tables of
docs/dashboards.md anew.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/grafana/kubeletstats.json"
PROMETHEUS = ROOT / "deploy/prometheus"
PAGE = ROOT / "docs/dashboards.md"
OTHERS = Path(__file__).with_name("other_dashboards.tsv")

# Two samples of the simulated kubelet, whatever the machine does meanwhile, and the rules of the second Prometheus.
DEADLINE = 90
# Every option that the page asks for.
EVERYTHING = {
    "metric_groups": "all",
    "fields": "all",
    "pod_facts": "on",
    "kube_state_metrics": "on",
    "cluster": "east",
    "interval": "1s",
    "timeout": "900ms",
}
# What the simulated sidecar does not have: a limit, and a run that has ended.
NOT_SIMULATED = {"kube_pod_init_container_resource_limits", "kube_pod_init_container_status_last_terminated_reason"}
# By the rules of deploy/prometheus.
MADE = {"kube_node_info", "kube_namespace_status_phase"}
TITLES = {
    "views-pods": "dotdc: Kubernetes / Views / Pods",
    "mixin-pod": "kubernetes-mixin: Compute Resources / Pod",
    "315": "Grafana.com 315: Kubernetes cluster monitoring (via Prometheus)",
    "14282": "Grafana.com 14282: Cadvisor exporter",
}
# Of a panel's options, how the page calls them and what they are.
OPTIONS = {
    "-": ("", {}),
    "image": ("`pod_facts`", {"pod_facts": "on"}),
    "ksm": ("`kube_state_metrics`", {"pod_facts": "on", "kube_state_metrics": "on"}),
    "node": ("group `node`", {"metric_groups": "container,node"}),
    "system": ("group `system_container`", {"metric_groups": "container,system_container"}),
    "fields": ("`fields all`", {"fields": "all"}),
}


def first(variable, *places):
    """What the variable names, else the first of the places that is there."""
    named = os.environ.get(variable)
    assert not named or Path(named).exists(), f"{variable}: there is no {named}"
    found = [place for place in map(Path, filter(None, [named, *([] if named else places)])) if place.exists()]
    return found[0] if found else None


def programs():
    """What is run, by name; a value is None where it is not there."""
    return {
        "plugin (make build)": first("PLUGIN", ROOT / "target/release/flb-in_kubeletstats.so"),
        "sim-kubelet (make tools)": first("SIM_KUBELET", ROOT / "target/debug/sim-kubelet"),
        "kubeletstats (make tools)": first("", ROOT / "target/debug/kubeletstats"),
        "fluent-bit": fluent_bit(),
        "prometheus": first("", shutil.which("prometheus")),
        "promtool": first("", shutil.which("promtool")),
    }


def fluent_bits(least):
    """Those in FLUENT_BIT, on the PATH or of the package that are of this release or later."""
    named = os.environ.get("FLUENT_BIT")
    places = named.split(":") if named else [shutil.which("fluent-bit"), "/opt/fluent-bit/bin/fluent-bit"]
    for place in filter(None, places):
        assert not named or Path(place).exists(), f"FLUENT_BIT: there is no {place}"
        if not Path(place).exists():
            continue
        said = subprocess.run([place, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"v(\d+)\.(\d+)\.", said)
        if version and (int(version[1]), int(version[2])) >= least:
            yield Path(place)


def fluent_bit():
    """The first one that has metrics, which 1.x has not."""
    return next(fluent_bits((2, 0)), None)


def need(*names):
    """The programs of these names, or the test is not run."""
    all_of_them = programs()
    missing = [name for name in names if all_of_them[name] is None]
    if missing:
        said = f"NOT RUN: there is no {', no '.join(missing)}"
        if os.environ.get("KUBELETSTATS_REQUIRE"):
            raise AssertionError(said)
        print(said, file=sys.stderr)
        raise unittest.SkipTest(said)
    return [all_of_them[name] for name in names]


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def until(what, attempt, log=None):
    """What the attempt gives, once it is something; an exception of the network is nothing yet."""
    deadline = time.monotonic() + DEADLINE
    while True:
        problem = None
        try:
            found = attempt()
            if found:
                return found
        except (OSError, urllib.error.URLError) as error:
            problem = error
        if time.monotonic() > deadline:
            said = f": {log.read_text()[-2000:]}" if log and log.exists() else ""
            raise AssertionError(f"{what}: nothing within {DEADLINE} s ({problem}){said}")
        # Not a wait for anything: how often is looked.
        time.sleep(0.1)


@contextmanager
def running(folder, name, *command):
    """The path of what the program says, while it runs."""
    log = folder / f"{name}.log"
    with log.open("w") as out:
        child = subprocess.Popen([*map(str, command)], stdout=out, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield log
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Prometheus:
    """One that runs with a configuration of deploy/prometheus."""

    def __init__(self, url):
        self.url = url

    def query(self, expression):
        """The result of an instant query, as Prometheus gives it."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            return json.loads(get(url))["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None


class Parts:
    """The kubelet, Fluent Bit on it and one whose kubelet is not there, and two Prometheus."""

    def __init__(self):
        plugin, sim, self.fluent_bit, prometheus = need(
            "plugin (make build)", "sim-kubelet (make tools)", "fluent-bit", "prometheus"
        )
        self.open = []
        self.folder = Path(tempfile.mkdtemp(prefix="dashboards-"))
        self.open.append(lambda: shutil.rmtree(self.folder))
        try:
            self.start(plugin, sim, prometheus)
        except BaseException:
            self.stop()
            raise

    def start(self, plugin, sim, prometheus):
        log = self.run("kubelet", sim, "--full", "--plain-http", "--anonymous", "--sample-period=2s",
                       "--listen=127.0.0.1:0", f"--dir={self.folder}")
        found = until("the simulated kubelet", lambda: re.search(r"http://\S+", log.read_text()), log)
        self.plugin, self.kubelet = plugin, found[0]
        # Nothing listens there: its page has the failures.
        gone = f"http://127.0.0.1:{free_port()}"
        targets = [
            self.agent("fluent-bit", {**EVERYTHING, "pod_labels": "*"}),
            self.agent("fluent-bit-alone", {**EVERYTHING, "kubelet_url": gone, "node_name": "gone"}),
        ]
        self.plain = self.prometheus(prometheus, "prometheus.yaml", targets)
        self.adapted = self.prometheus(prometheus, "prometheus-other-dashboards.yaml", targets)

    def run(self, name, *command):
        process = running(self.folder, name, *command)
        self.open.append(lambda: process.__exit__(None, None, None))
        return process.__enter__()

    def agent(self, name, options):
        """The address of a Fluent Bit's page, once it has one."""
        port = free_port()
        options = {"format": "metrics", "kubelet_url": self.kubelet, **options}
        given = [word for pair in options.items() for word in ("-p", "=".join(pair))]
        log = self.run(name, self.fluent_bit, "-q", "-e", self.plugin, "-i", "kubeletstats", *given, "-o",
                       "prometheus_exporter", "-p", "host=127.0.0.1", "-p", f"port={port}", "-m", "*", "-f", "1")
        until(name, lambda: "kubeletstats_up" in get(f"http://127.0.0.1:{port}/metrics"), log)
        return f"127.0.0.1:{port}"

    def prometheus(self, program, name, targets):
        """With the file as it is shipped, but for whom it scrapes and how often."""
        text = (PROMETHEUS / name).read_text()
        text, count = re.subn(r'targets: \["fluent-bit:2021"\]', f"targets: {json.dumps(targets)}", text)
        assert count, f"{name}: it scrapes somebody else"
        text = text.replace("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s")
        folder = self.folder / name
        folder.mkdir()
        (folder / "prometheus.yml").write_text(text)
        for rules in PROMETHEUS.glob("*.yaml"):
            shutil.copy(rules, folder)
        port = free_port()
        log = self.run(name, program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                       f"--web.listen-address=127.0.0.1:{port}")
        url = f"http://127.0.0.1:{port}"
        until(name, lambda: get(f"{url}/-/ready"), log)
        return Prometheus(url)

    def stop(self):
        for stop in reversed(self.open):
            stop()


PARTS = None


def setUpModule():
    """Once for all classes; those that need none of it run where it is not there."""
    global PARTS
    try:
        PARTS = Parts()
    except unittest.SkipTest as skip:
        PARTS = skip


def tearDownModule():
    if isinstance(PARTS, Parts):
        PARTS.stop()


def parts():
    if isinstance(PARTS, unittest.SkipTest):
        raise PARTS
    return PARTS


def with_values(expression, values):
    """What Grafana makes of a query: its variables, its own among them, are text."""
    own = {"__rate_interval": "20s", "__range": "1m", "rate": "20s"}
    expanded = re.sub(r"\$(\w+)", lambda found: {**own, **values}[found[1]], expression)
    label = re.fullmatch(r"label_values\((?:(.*), *)?(\w+)\)", expanded, re.S)
    if label is None:
        return expanded
    # What the function asks for, as a query: all values that the label has.
    metric, name = label[1] or "{}", label[2]
    metric = metric if "{" in metric else metric + "{}"
    more = ", " if metric[-2] != "{" else ""
    return f'group by ({name}) ({metric[:-1]}{more}{name}!=""}})'


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dashboard = json.loads(DASHBOARD.read_text())
        cls.panels = [panel for panel in cls.dashboard["panels"] if panel["type"] != "row"]
        cls.variables = {each["name"]: each for each in cls.dashboard["templating"]["list"]}

    def queries(self):
        """Title and query of each panel and variable."""
        for name, variable in self.variables.items():
            if variable["type"] == "query":
                yield f"variable {name}", variable["query"]["query"]
        for panel in self.panels:
            for target in panel["targets"]:
                yield f"{panel['title']}, {target['refId']}", target["expr"]

    def values(self, **chosen):
        """What Grafana puts in for each variable: All, unless chosen. Without a value for All it lists every one."""
        values = {}
        for name, variable in self.variables.items():
            if name in chosen or variable["type"] != "query":
                values[name] = chosen.get(name, "")
            elif "allValue" in variable:
                values[name] = variable["allValue"]
            else:
                query = with_values(variable["query"]["query"], values)
                found = until(name, lambda: parts().plain.query(query))
                values[name] = "(" + "|".join(each["metric"][name] for each in found) + ")"
        return values

    def test_every_query_has_data(self):
        values = self.values()
        self.assertIn("crasher", values["pod"])
        count = 0
        for title, query in self.queries():
            with self.subTest(title):
                expression = with_values(query, values)
                found = until(f"{title}: {expression}", lambda: parts().plain.query(expression))
                self.assertNotEqual({each["value"][1] for each in found}, {"NaN"}, expression)
                count += 1
        print(f"\n{count} queries of {DASHBOARD.name} have data on {parts().fluent_bit}")

    def test_a_choice_is_obeyed(self):
        chosen = self.values(cluster="east", node="vm", namespace="payments", workload="cart")
        self.assertRegex(chosen["pod"], r"^\(cart-[^|]*\)$")
        own = {panel["title"]: panel for panel in self.panels}
        for title in ["CPU by container", "CPU by container, of its limit", "Memory by container, of its limit",
                      "Network by pod", "CPU by workload", "CPU by workload, of its limits", "Memory by workload"]:
            with self.subTest(title):
                expression = with_values(own[title]["targets"][0]["expr"], chosen)
                found = until(title, lambda: parts().plain.query(f"({expression}) > 0"))
                self.assertEqual(len(found), 1, expression)
                named = found[0]["metric"]
                self.assertTrue(named.get("owner_name") == "cart" or named["pod"].startswith("cart-"), named)
        # Of another cluster there is nothing.
        elsewhere = with_values(own["CPU by container"]["targets"][0]["expr"], {**chosen, "cluster": "west"})
        self.assertEqual(parts().plain.query(elsewhere), [])

    def test_used_of_the_limit_is_what_the_plugin_says(self):
        panels = {panel["title"]: panel for panel in self.panels}
        values = self.values()
        for title, metric in [("Memory by container, of its limit", "kubeletstats_container_memory_limit_utilization")]:
            expression = with_values(panels[title]["targets"][0]["expr"], values)
            both = f"({expression}) / on (pod, container) {metric}"
            for each in until(title, lambda: parts().plain.query(both)):
                self.assertAlmostEqual(float(each["value"][1]), 1, delta=0.01)

    def test_the_panel_of_failures_and_nodes_that_are_down(self):
        panels = {panel["title"]: panel for panel in self.panels}
        values = self.values()
        for title, expected in [("Nodes scraped", "1"), ("Nodes not scraped", "1")]:
            expression = with_values(panels[title]["targets"][0]["expr"], values)
            self.assertEqual(until(title, lambda: parts().plain.query(expression))[0]["value"][1], expected)
        expression = with_values(panels["Failed scrapes by reason"]["targets"][0]["expr"], values) + " > 0"
        (failing,) = until(expression, lambda: parts().plain.query(expression))
        self.assertEqual(failing["metric"]["node"], "gone")

    def test_its_form(self):
        ids = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        cells = [
            (x, y)
            for panel in self.dashboard["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        self.assertEqual(len(cells), len(set(cells)))
        self.assertLess(max(x for x, _ in cells), 24)
        self.assertEqual(list(self.variables), ["datasource", "cluster", "node", "namespace", "workload", "pod"])
        source = {"type": "prometheus", "uid": "${datasource}"}
        for panel in self.panels:
            self.assertTrue(panel["description"], panel["title"])
            for target in panel["targets"]:
                self.assertEqual(target["datasource"], source)


class Alerts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        (cls.promtool,) = need("promtool")

    def call(self, *arguments):
        done = subprocess.run([self.promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules_and_configurations_are_valid(self):
        said = self.call("check", "rules", "alerts.yaml", "rules-other-dashboards.yaml")
        self.assertEqual(said.count("SUCCESS"), 2, said)
        for name in ["prometheus.yaml", "prometheus-other-dashboards.yaml"]:
            self.call("check", "config", name)

    def test_rules_do_what_they_say(self):
        self.assertIn("SUCCESS", self.call("test", "rules", "alerts-test.yaml"))

    def test_each_alert_has_both_cases(self):
        alerts = re.findall(r"(?m)^ +- alert: (\w+)$", (PROMETHEUS / "alerts.yaml").read_text())
        cases = re.findall(
            r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:( \[\])?", (PROMETHEUS / "alerts-test.yaml").read_text()
        )
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            self.assertEqual({bool(quiet) for name, quiet in cases if name == alert}, {True, False}, alert)
        self.assertLessEqual({name for name, _ in cases}, set(alerts))

    def test_each_says_what_and_for_how_long(self):
        for alert in (PROMETHEUS / "alerts.yaml").read_text().split("- alert: ")[1:]:
            for key in ["expr:", "for:", "severity:", "summary:", "description:"]:
                self.assertIn(key, alert)

    def test_what_they_ask_for_is_there(self):
        """Every metric that the rules name comes out of the plugin, or stands in the page's table of all that can."""
        text = (PROMETHEUS / "alerts.yaml").read_text()
        prefixes = "kubeletstats|kubelet_volume|kube_pod|container|node|machine"
        expressions = "".join(re.findall(r"expr: .*\n(?: {10,}.*\n)*", text))
        metrics = set(re.findall(rf"\b(?:{prefixes})_\w+", expressions))
        self.assertGreater(len(metrics), 12)
        self.assertLessEqual(NOT_SIMULATED, metrics)
        table = (ROOT / "docs/metrics.md").read_text()
        for metric in NOT_SIMULATED:
            self.assertIn(f"| `{metric}` | gauge |", table)
        for metric in metrics - NOT_SIMULATED:
            with self.subTest(metric):
                until(metric, lambda: parts().plain.query(metric))


def others():
    """Dashboard, panel, as it is, adapted, options, form and remark of each line."""
    for line in OTHERS.read_text().splitlines():
        if line and not line.startswith("#"):
            words = line.split("\t")
            yield words + [""] * (7 - len(words))


def row(panel, plain, adapted, needs, why):
    """A line of the page's table."""
    data = {("yes", "yes"): "yes", ("no", "yes"): "relabelled", ("no", "no"): "**no**"}[plain, adapted]
    options = ", ".join(filter(None, (OPTIONS[need][0] for need in needs.split(", ") if need)))
    return f"| {panel} | {data} | {options} | {why} |"


def summary():
    """A line for each dashboard: how much of it has data, and with which options."""
    rows = []
    for name, title in TITLES.items():
        lines = [each for each in others() if each[0] == name]
        shown = [each for each in lines if each[3] == "yes"]
        relabelled = [each for each in shown if each[2] == "no"]
        needs = {OPTIONS[need][0] for each in shown for need in each[4].split(", ") if need} - {""}
        rows.append(f"| {title} | {len(lines)} | {len(shown)} | {len(relabelled)} | {', '.join(sorted(needs))} |")
    head = ["| dashboard | panels and variables | have data | of these when relabelled | with all of |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


class OtherDashboards(unittest.TestCase):
    """What dashboards made for cAdvisor and kube-state-metrics find, and that the page says just that."""

    # What is chosen in them: a pod with requests and limits.
    VALUES = {"namespace": "default", "pod": "limited-vm", "cluster": "east", "job": ".+", "Node": ".*", "host": ".*",
              "container": ".*"}

    def test_each_panel_has_data_or_has_not_as_the_page_says(self):
        lines = list(others())
        asked = [("as it is", parts().plain, 2), ("relabelled", parts().adapted, 3)]
        for how, prometheus, column in asked:
            for line in lines:
                if line[column] == "yes":
                    with self.subTest(f"{how}: {line[0]}, {line[1]}"):
                        expression = with_values(line[5], self.VALUES)
                        until(expression, lambda: prometheus.query(expression))
        # All that there is has come by now.
        for how, prometheus, column in asked:
            for line in lines:
                if line[column] == "no":
                    with self.subTest(f"{how}: {line[0]}, {line[1]}"):
                        self.assertEqual(prometheus.query(with_values(line[5], self.VALUES)), [])
        for name, title in TITLES.items():
            print(f"\n{title}")
            for dashboard, panel, plain, adapted, needs, _, why in lines:
                if dashboard == name:
                    print(row(panel, plain, adapted, needs, why))

    def test_the_options_that_are_told_of_suffice(self):
        lines = [line for line in others() if line[4]]
        pages = {}
        for needs in {line[4] for line in lines}:
            options = [OPTIONS[need][1] for need in needs.split(", ")]
            address = parts().agent(f"with-{needs}", {key: one[key] for one in options for key in one})
            pages[needs] = lambda url=f"http://{address}/metrics": get(url)
        for line in lines:
            with self.subTest(f"{line[0]}, {line[1]}"):
                asked = set(re.findall(r"\b(?:container|kube|machine)_\w+(?=\{)", line[5])) - MADE
                # Only with pod_facts a container has an image and a name.
                if "network" not in line[5] and re.search(r'image!=""|name=~"\.\+"', line[5]):
                    asked.add('image="[^"]')
                until(f"{asked} with {line[4]}", lambda: all(re.search(each, pages[line[4]]()) for each in asked))

    def test_the_tables_of_the_page(self):
        page = PAGE.read_text()
        tables = {"## Existing dashboards": summary()}
        for name, title in TITLES.items():
            rows = [row(each[1], *each[2:5], each[6]) for each in others() if each[0] == name]
            tables[f"### {title}"] = "\n".join(["| panel | has data | with | |", "|---|---|---|---|", *rows]) + "\n"
        for title, table in tables.items():
            found = re.search(rf"(?m)^{re.escape(title)}\n(?:.*\n)*?\n((?:\|.*\n)+)", page)
            self.assertIsNotNone(found, title)
            if os.environ.get("DASHBOARDS") == "rewrite":
                page = page.replace(found[1], table)
                PAGE.write_text(page)
            else:
                self.assertEqual(found[1], table, f"DASHBOARDS=rewrite writes it anew: {title}")

    def test_every_line_is_of_a_dashboard_that_is_told_of(self):
        self.assertEqual({each[0] for each in others()}, set(TITLES))
        for each in others():
            self.assertIn((each[2], each[3]), [("yes", "yes"), ("no", "yes"), ("no", "no")], each)
            self.assertLessEqual(set(each[4].split(", ")), {*OPTIONS, ""}, each)


if __name__ == "__main__":
    unittest.main()
