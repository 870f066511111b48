// The runtime of mcporter, which knows the handshake alone, and of that tools and resources.
//
// usage: node mcporter_client.mjs PLAN

import { drive } from "./clients.mjs";
import { PACKAGES } from "./common.mjs";

const { createRuntime } = await import(new URL("mcporter/dist/index.js", PACKAGES));

await drive(async ({ url, command: [program, ...args] = [] }) => {
  const command = url ? { kind: "http", url: new URL(url) } : { kind: "stdio", command: program, args, cwd: process.cwd() };
  const runtime = await createRuntime({ servers: [{ name: "gateway", command }] });
  const { client } = await runtime.connect("gateway");
  const methods = {
    "tools/list": async () => ({ tools: await runtime.listTools("gateway", { includeSchema: true }) }),
    "tools/call": ({ name, arguments: args }) => runtime.callTool("gateway", name, { args }),
    "resources/list": (params) => runtime.listResources("gateway", params),
    "resources/read": ({ uri }) => runtime.readResource("gateway", uri),
  };
  return {
    revision: client.transport?.protocolVersion,
    request: (method, params) => methods[method](params),
    close: () => runtime.close(),
  };
});
