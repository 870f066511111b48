// The client of the second generation of the official TypeScript SDK, which knows both eras.
//
// usage: node typescript_v2_client.mjs PLAN

import { CAPABILITIES, ROOTS, SAMPLED, drive, elicited } from "./clients.mjs";
import { load } from "./common.mjs";

const { Client, SSEClientTransport, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");

const transports = {
  http: ({ url }) => new StreamableHTTPClientTransport(new URL(url)),
  sse: ({ url }) => new SSEClientTransport(new URL(url)),
  stdio: ({ command: [command, ...args] }) => new StdioClientTransport({ command, args }),
};

await drive(async (plan) => {
  const mode = plan.era === "handshake" ? "legacy" : "auto";
  const client = new Client(
    { name: "typescript-v2-client", version: "1.0.0" },
    { capabilities: CAPABILITIES, versionNegotiation: { mode } },
  );
  client.setRequestHandler("elicitation/create", ({ params }) => elicited(params));
  client.setRequestHandler("sampling/createMessage", () => SAMPLED);
  client.setRequestHandler("roots/list", () => ROOTS);
  const transport = transports[plan.transport](plan);
  await client.connect(transport);
  const methods = {
    "tools/list": (params, options) => client.listTools(params, options),
    "tools/call": (params, options) => client.callTool(params, options),
    "prompts/list": (params, options) => client.listPrompts(params, options),
    "prompts/get": (params, options) => client.getPrompt(params, options),
    "resources/list": (params, options) => client.listResources(params, options),
    "resources/templates/list": (params, options) => client.listResourceTemplates(params, options),
    "resources/read": (params, options) => client.readResource(params, options),
  };
  return {
    transport,
    revision: client.getNegotiatedProtocolVersion(),
    request: (method, params, options) => methods[method](params, options),
    // The stateless era has no ping.
    ping: () => (client.getProtocolEra() === "modern" ? client.discover() : client.ping()),
    close: () => client.close(),
    async subscribe(uri, told) {
      client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
        if (params.uri === uri) {
          told();
        }
      });
      if (client.getProtocolEra() === "modern") {
        await client.listen({ resourceSubscriptions: [uri] });
      } else {
        await client.subscribeResource({ uri });
      }
    },
  };
});
