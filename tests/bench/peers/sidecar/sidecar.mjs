// What the sidecar of the stack that this replaces does: asks the kubelet, keeps the pods that
// are wanted, and appends a line of JSON for each container to a file that a `tail` reads back.
import { appendFile, readFileSync } from "node:fs";
import { Agent, request } from "node:https";

const [url, caFile, tokenFile, output, interval, prefix = ""] = process.argv.slice(2);
const MIB = 1024 * 1024;
const options = {
  agent: new Agent({ keepAlive: true, ca: readFileSync(caFile) }),
  headers: { authorization: `Bearer ${readFileSync(tokenFile, "utf8").trim()}` },
  timeout: 5000,
};

function records({ node, pods }) {
  const lines = [];
  for (const { podRef, network, containers } of pods ?? []) {
    if (!podRef.name.startsWith(prefix)) {
      continue;
    }
    for (const { name, cpu, memory, rootfs } of containers) {
      lines.push(
        JSON.stringify({
          timestamp: Date.parse(cpu.time),
          service: name,
          podName: podRef.name,
          namespace: podRef.namespace,
          nodeName: node.nodeName,
          cpu: cpu.usageNanoCores / 1e7,
          memory: memory.workingSetBytes / MIB,
          disk: (rootfs?.usedBytes ?? 0) / MIB,
          network_in: network?.rxBytes ?? 0,
          network_out: network?.txBytes ?? 0,
          metadata: { node: node.nodeName, namespace: podRef.namespace },
        }) + "\n",
      );
    }
  }
  return lines.join("");
}

function failed(error) {
  console.error(`error: ${error.message}`);
}

function scrape() {
  const asked = request(`${url}/stats/summary`, options, (reply) => {
    const parts = [];
    reply.on("data", (part) => parts.push(part));
    reply.on("end", () => {
      if (reply.statusCode !== 200) {
        return failed(new Error(`status ${reply.statusCode}`));
      }
      const text = records(JSON.parse(Buffer.concat(parts).toString("utf8")));
      appendFile(output, text, (error) => error && failed(error));
    });
  });
  asked.on("error", failed);
  asked.on("timeout", () => asked.destroy(new Error("timeout")));
  asked.end();
}

appendFile(output, "", (error) => error && failed(error));
setInterval(scrape, Number(interval));
