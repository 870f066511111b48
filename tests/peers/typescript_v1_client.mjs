// The client of the first generation of the official TypeScript SDK, which knows the handshake alone.
//
// usage: node typescript_v1_client.mjs PLAN

import { CAPABILITIES, ROOTS, SAMPLED, drive, elicited } from "./clients.mjs";
import { load } from "./common.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { SSEClientTransport } = load("@modelcontextprotocol/sdk/client/sse.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = load("@modelcontextprotocol/sdk/types.js");

const transports = {
  http: ({ url }) => new StreamableHTTPClientTransport(new URL(url)),
  sse: ({ url }) => new SSEClientTransport(new URL(url)),
  stdio: ({ command: [command, ...args] }) => new StdioClientTransport({ command, args }),
};

await drive(async (plan) => {
  const client = new Client({ name: "typescript-v1-client", version: "1.0.0" }, { capabilities: CAPABILITIES });
  client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => elicited(params));
  client.setRequestHandler(types.CreateMessageRequestSchema, () => SAMPLED);
  client.setRequestHandler(types.ListRootsRequestSchema, () => ROOTS);
  const transport = transports[plan.transport](plan);
  let revision;
  // Transports are told the revision that was agreed upon.
  const { setProtocolVersion } = transport;
  transport.setProtocolVersion = (version) => {
    revision = version;
    setProtocolVersion?.call(transport, version);
  };
  await client.connect(transport);
  const methods = {
    "tools/list": (params, options) => client.listTools(params, options),
    "tools/call": (params, options) => client.callTool(params, undefined, options),
    "prompts/list": (params, options) => client.listPrompts(params, options),
    "prompts/get": (params, options) => client.getPrompt(params, options),
    "resources/list": (params, options) => client.listResources(params, options),
    "resources/templates/list": (params, options) => client.listResourceTemplates(params, options),
    "resources/read": (params, options) => client.readResource(params, options),
  };
  return {
    transport,
    revision,
    request: (method, params, options) => methods[method](params, options),
    ping: () => client.ping(),
    close: () => client.close(),
    async subscribe(uri, told) {
      client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => {
        if (params.uri === uri) {
          told();
        }
      });
      await client.subscribeResource({ uri });
    },
  };
});
