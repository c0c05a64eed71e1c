"""deploy/compose against what it names elsewhere in the repository. Run by deploy/validate."""

import re
import unittest

import yaml

from rendering import ROOT, kustomization, pods, setting, variables

COMPOSE = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


class Compose(unittest.TestCase):
    def test_only_loopback_is_published(self):
        ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
        self.assertTrue(ports)
        for port in ports:
            self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_build_targets_are_stages_of_the_dockerfile(self):
        stages = re.findall(r"(?m)^FROM \S+ AS (\S+)$", DOCKERFILE)
        built = [service["build"]["target"] for service in SERVICES.values() if "build" in service]
        self.assertEqual(len(built), 3)
        self.assertLessEqual(set(built), set(stages))
        # What `docker build .` makes.
        self.assertEqual(stages[-1], "fluent-bit")

    def test_whoever_is_waited_for_can_be_healthy(self):
        for name, service in SERVICES.items():
            for other, how in service.get("depends_on", {}).items():
                with self.subTest(f"{name} waits for {other}"):
                    self.assertEqual(how, {"condition": "service_healthy"})
                    self.assertIn("healthcheck", SERVICES[other])

    def test_volumes_are_declared_and_files_exist(self):
        for name, service in SERVICES.items():
            for volume in service.get("volumes", []):
                with self.subTest(f"{name}: {volume}"):
                    source = volume.split(":")[0]
                    if source.startswith("."):
                        self.assertTrue((ROOT / "deploy/compose" / source).exists())
                    else:
                        self.assertIn(source, COMPOSE["volumes"])

    def test_the_images_variables_are_the_shipped_configurations(self):
        shipped = variables((ROOT / "fluent-bit.yaml").read_text())
        self.assertLessEqual(set(SERVICES["fluent-bit"]["environment"]), shipped)
        (block,) = re.findall(r"(?m)^ENV (KAFKA_BROKERS(?:.*\\\n)*.*)$", DOCKERFILE)
        self.assertEqual(set(re.findall(r"(\w+)=", block)), shipped)

    def test_fluent_bit_has_time_to_stop(self):
        # As in Kubernetes: twice Grace is used while Kafka is away, and half is room. The default is 10 s.
        grace = int(setting((ROOT / "fluent-bit.yaml").read_text(), "[SERVICE]", "Grace"))
        self.assertGreaterEqual(int(SERVICES["fluent-bit"]["stop_grace_period"].removesuffix("s")), 2 * 2 * grace)

    def test_the_same_kafka_as_in_kind(self):
        (kafka,) = [pod for name, pod in pods(kustomization("overlays/kind")) if name == "kafka"]
        self.assertEqual(SERVICES["kafka"]["image"], kafka["spec"]["containers"][0]["image"])
