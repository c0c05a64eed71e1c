"""The queries of the Grafana dashboard, on a real PostgreSQL with rows whose answer is known.

Needs the server's programs (initdb, postgres): on the PATH, in PG_BIN, or where Debian puts them. Runs a
cluster of its own in a temporary folder, on a socket there and no port. Run by deploy/validate.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from rendering import ROOT

DASHBOARD = ROOT / "deploy/compose/grafana/dashboards/system-metrics.json"
DATASOURCE = ROOT / "deploy/compose/grafana/provisioning/datasources/timescaledb.yaml"
SCHEMA = ROOT / "consumer/schema.sql"


class Shown:
    """The range on the dashboard: a quarter of an hour that ends when the rows are made, so that "the last
    minute" has some."""

    start = end = None

    @classmethod
    def until_now(cls):
        cls.end = datetime.now(timezone.utc).replace(microsecond=0)
        cls.start = cls.end - timedelta(minutes=15)


def programs():
    """The folder with initdb and postgres, or None."""
    places = [os.environ.get("PG_BIN", "")]
    places.append(os.path.dirname(os.path.realpath(shutil.which("initdb") or "")))
    places += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return next((Path(place) for place in places if place and Path(place, "initdb").exists()), None)


def expand(sql, interval=10, namespaces=("default", "shop"), pods=("web", "db", "api")):
    """What Grafana's PostgreSQL datasource makes of its macros and of the variables (timescaledb: false)."""
    quoted = {"namespace": namespaces, "pod": pods}
    sql = re.sub(r"\$\{(\w+):sqlstring\}", lambda m: ",".join(f"'{value}'" for value in quoted[m[1]]), sql)
    sql = sql.replace("$__interval", f"{interval}s")
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN '{Shown.start.isoformat()}' AND '{Shown.end.isoformat()}'", sql
    )
    sql = re.sub(r"\$__timeGroup\((\w+),\s*(\d+)s\)", r"floor(extract(epoch from \1)/\2)*\2", sql)
    left = re.search(r"\$\w*", sql)
    assert left is None, f"{left[0]} was not expanded: {sql}"
    return sql


class Server:
    """One PostgreSQL for all tests of this file."""

    def __init__(self, bin_dir):
        self.bin = bin_dir
        # Short, because a socket's path is.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.user = {}
        if os.geteuid() == 0:
            # The server refuses root.
            shutil.chown(self.folder, "postgres", "postgres")
            self.user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        data = self.folder / "data"
        self.call(self.bin / "initdb", "-D", data, "-A", "trust", "-U", "metrics", "-E", "UTF8", "--no-sync")
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **self.user,
        )

    def wait(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.query("SELECT 1")
            except RuntimeError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def call(self, *command, text=None):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd="/", **self.user)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout

    def query(self, sql):
        """Rows as lists of text, the first row being the names."""
        psql = [
            shutil.which("psql") or self.bin / "psql",
            "-X",
            "-q",
            "-h",
            self.folder,
            "-U",
            "metrics",
            "-d",
            "postgres",
        ]
        out = self.call(*psql, "-v", "ON_ERROR_STOP=1", "--csv", "-f", "-", text=sql)
        return [line.split(",") for line in out.splitlines()]

    def stop(self):
        # SIGINT: PostgreSQL's fast shutdown.
        self.process.send_signal(2)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dashboard = json.loads(DASHBOARD.read_text())
        cls.panels = {panel["title"]: panel for panel in cls.dashboard["panels"]}
        folder = programs()
        if folder is None:
            raise unittest.SkipTest("no PostgreSQL server on this machine: no query of the dashboard was run")
        cls.server = Server(folder)
        cls.addClassCleanup(cls.server.stop)
        cls.server.wait()
        cls.server.query(SCHEMA.read_text())
        Shown.until_now()
        cls.server.query(cls.rows())

    @staticmethod
    def rows():
        """A sample every 10 s: web has two containers, db restarts in the middle, api has no network."""
        values = []
        for step in range(0, 90):
            at = (Shown.end - timedelta(seconds=10 * step)).isoformat()
            n = 90 - step
            sent = 2000 * (n - 45) if n > 45 else 2000 * n
            for pod, namespace, container, cpu, memory, received, transmitted in [
                ("web", "default", "nginx", 10, 20, 1000 * n, 500 * n),
                ("web", "default", "helper", 5, 4, 1000 * n, 500 * n),
                ("db", "shop", "postgres", 50, 300, sent, sent),
                ("api", "shop", "api", 1, 8, "NULL", "NULL"),
                ("other", "elsewhere", "other", 99, 99, 9, 9),
            ]:
                values.append(
                    f"('{at}','{container}','{pod}',{cpu},{memory},'{namespace}','node','{container}',{received},{transmitted})"
                )
        columns = "time,service,pod_name,cpu,memory,namespace,node_name,container_name,network_in,network_out"
        return f"INSERT INTO system_metrics ({columns}) VALUES {','.join(values)}"

    def panel(self, title, **options):
        (target,) = self.panels[title]["targets"]
        return self.server.query(expand(target["rawSql"], **options))

    def series(self, title, **options):
        """name → values in order of time."""
        names, *rows = self.panel(title, **options)
        self.assertEqual(names, ["time", "metric", "value"])
        times = [float(row[0]) for row in rows]
        self.assertEqual(times, sorted(times))
        found = {}
        for _, name, value in rows:
            found.setdefault(name, []).append(round(float(value), 3))
        return found

    def test_every_query_runs_at_every_interval(self):
        for panel in self.dashboard["panels"]:
            for target in panel["targets"]:
                for interval in (10, 60, 300):
                    with self.subTest(f"{panel['title']} every {interval} s"):
                        self.assertGreater(len(self.server.query(expand(target["rawSql"], interval))), 1)

    def test_the_variables(self):
        namespace, pod = self.dashboard["templating"]["list"]
        self.assertEqual(
            self.server.query(expand(namespace["query"])), [["namespace"], ["default"], ["elsewhere"], ["shop"]]
        )
        self.assertEqual(self.server.query(expand(pod["query"], namespaces=("shop",))), [["pod_name"], ["api"], ["db"]])

    def test_cpu_and_memory_are_summed_over_containers_and_averaged_over_time(self):
        for interval in (10, 60):
            cpu = self.series("CPU by pod", interval=interval)
            self.assertEqual(set(cpu), {"default/web", "shop/db", "shop/api"})
            self.assertEqual(set(cpu["default/web"]), {15.0})
            memory = self.series("Memory by pod", interval=interval)
            self.assertEqual((set(memory["default/web"]), set(memory["shop/db"])), ({24.0}, {300.0}))

    def test_network_is_a_rate_of_the_pod_and_a_restart_makes_no_spike(self):
        for interval in (10, 60):
            received = self.series("Network in by pod", interval=interval)
            self.assertEqual(set(received), {"default/web", "shop/db"})
            # 1000 bytes in 10 s, once for the pod and not once a container.
            self.assertEqual(set(received["default/web"]), {100.0})
            self.assertLessEqual(max(received["shop/db"]), 200.0)
            self.assertGreaterEqual(min(received["shop/db"]), 0.0)
        self.assertEqual(set(self.series("Network out by pod")["default/web"]), {50.0})

    def test_the_choice_of_pods_is_obeyed(self):
        self.assertEqual(set(self.series("CPU by pod", pods=("db",))), {"shop/db"})
        self.assertEqual(set(self.series("CPU by pod", namespaces=("default",))), {"default/web"})

    def test_the_figures_at_the_top(self):
        self.assertEqual(self.panel("Pods"), [["pods"], ["3"]])
        self.assertEqual(self.panel("CPU now"), [["cpu"], ["66"]])
        self.assertEqual(self.panel("Memory now"), [["memory"], ["332"]])
        age = float(self.panel("Newest sample")[1][0])
        self.assertTrue(0 <= age < 60, age)

    def test_the_table(self):
        names, *rows = self.panel("Latest sample of each container")
        self.assertEqual(
            names, ["time", "namespace", "pod_name", "container_name", "service", "node_name", "cpu", "memory"]
        )
        self.assertEqual(
            [row[2:4] for row in rows], [["web", "helper"], ["web", "nginx"], ["api", "api"], ["db", "postgres"]]
        )


class Provisioning(unittest.TestCase):
    """As far as it can be known without a Grafana."""

    def test_names_agree(self):
        dashboard = json.loads(DASHBOARD.read_text())
        text = DATASOURCE.read_text()
        for panel in dashboard["panels"] + dashboard["templating"]["list"]:
            source = panel["datasource"]
            self.assertIn(f"uid: {source['uid']}\n", text)
            self.assertIn(f"type: {source['type']}\n", text)
        # The expansion above is the one without the extension.
        self.assertIn("timescaledb: false", text)

    def test_panels_have_ids_of_their_own_and_do_not_overlap(self):
        panels = json.loads(DASHBOARD.read_text())["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        cells = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        self.assertEqual(len(cells), len(set(cells)))
        self.assertLess(max(x for x, _ in cells), 24)
