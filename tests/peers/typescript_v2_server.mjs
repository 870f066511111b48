// An MCP server on the second generation of the official TypeScript SDK, which knows both eras.
//
// usage: node typescript_v2_server.mjs stdio | http

import { randomUUID } from "node:crypto";
import { COUNTER, GREETING, NAME_SCHEMA, QUESTION, load, pause, serve, text } from "./common.mjs";

const sdk = load("@modelcontextprotocol/server");
const { serveStdio } = load("@modelcontextprotocol/server/stdio");
const { NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } = load("@modelcontextprotocol/node");
const { z } = load("zod");
const { inputRequired, inputResponse } = sdk;

// Of the whole process: how often a call of `slow` was cancelled, and `count` called.
let cancelled = 0;
let counter = 0;
// Tells the open subscriptions of the stateless era over HTTP.
let notify;

// The same tools for both eras: a tool that needs an answer of the client returns the question and is called
// again with the answer, which the SDK turns into a request of its own where the era wants that.
function peer({ era }) {
  const server = new sdk.McpServer(
    { name: "typescript-v2-peer", version: "1.0.0" },
    { instructions: "A peer for tests", capabilities: { resources: { subscribe: true } } },
  );
  const subscriptions = new Set();
  if (era === "legacy") {
    server.server.setRequestHandler("resources/subscribe", ({ params }) => {
      subscriptions.add(params.uri);
      return {};
    });
    server.server.setRequestHandler("resources/unsubscribe", ({ params }) => {
      subscriptions.delete(params.uri);
      return {};
    });
  }

  const tool = (name, description, inputSchema, call, more = {}) =>
    server.registerTool(name, { description, inputSchema, ...more }, call);
  tool("echo", "Returns the message", z.object({ message: z.string() }), ({ message }) => text(`Echo: ${message}`));
  tool(
    "add",
    "Adds two numbers; the result is structured",
    z.object({ a: z.number(), b: z.number() }),
    ({ a, b }) => ({ ...text(`${a + b}`), structuredContent: { total: a + b } }),
    { outputSchema: z.object({ total: z.number() }) },
  );
  tool("fail", "Fails with the given reason", z.object({ reason: z.string() }), ({ reason }) => ({
    ...text(reason),
    isError: true,
  }));
  tool(
    "slow",
    "Takes `steps` times `step_ms` milliseconds and reports progress after each step",
    z.object({ steps: z.number(), step_ms: z.number() }),
    async ({ steps, step_ms }, { mcpReq }) => {
      for (let step = 1; step <= steps; step++) {
        try {
          await pause(step_ms, mcpReq.signal);
        } catch (error) {
          cancelled++;
          throw error;
        }
        const progressToken = mcpReq._meta?.progressToken;
        if (progressToken !== undefined) {
          const params = { progressToken, progress: step, total: steps };
          await mcpReq.notify({ method: "notifications/progress", params });
        }
      }
      return text(`${steps} steps done`);
    },
  );
  const none = z.object({});
  tool("cancelled", "How many calls of `slow` were cancelled", none, () => text(`${cancelled}`));
  tool("count", "Adds one to the counter", none, async () => {
    counter++;
    if (subscriptions.has(COUNTER) || (era === "modern" && !notify)) {
      await server.server.sendResourceUpdated({ uri: COUNTER });
    }
    notify?.resourceUpdated(COUNTER);
    return text(`${counter}`);
  });
  const asking = (name, description, question, answered) =>
    tool(name, description, none, (_, { mcpReq }) => {
      const answer = inputResponse(mcpReq.inputResponses, "it");
      return answer.kind === "missing"
        ? inputRequired({ inputRequests: { it: question } })
        : text(answered(mcpReq.inputResponses.it));
    });
  asking(
    "greet",
    "Greets the user after asking for their name",
    inputRequired.elicit({ message: "What is your name?", requestedSchema: NAME_SCHEMA }),
    ({ action, content }) => (action === "accept" ? `Hello, ${content.name}` : `They said: ${action}`),
  );
  asking(
    "ask",
    "Asks the model of the client",
    inputRequired.createMessage(QUESTION),
    ({ content }) => `It said: ${content.text}`,
  );
  asking(
    "roots",
    "Where the client lets servers work",
    inputRequired.listRoots(),
    ({ roots }) => roots.map(({ uri }) => uri).join("\n"),
  );

  const contents = (uri, text) => ({ contents: [{ uri: uri.href, mimeType: "text/plain", text }] });
  server.registerResource("greeting", GREETING, {}, (uri) => contents(uri, "Hello from the TypeScript peer"));
  server.registerResource("counter", COUNTER, {}, (uri) => contents(uri, `${counter}`));
  server.registerResource(
    "square",
    new sdk.ResourceTemplate("peer://square/{number}", { list: undefined }),
    { description: "The square of a number" },
    (uri, { number }) => contents(uri, `${number * number}`),
  );
  const argsSchema = z.object({ topic: z.string() });
  server.registerPrompt("review", { description: "Asks for a review", argsSchema }, ({ topic }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Please review ${topic}.` } }],
  }));
  return server;
}

// One server for each session of the handshake era.
const sessions = new Map();

async function streamable(request, response) {
  const chunks = await Array.fromAsync(request);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined;
  if (!(await sdk.isLegacyRequest(await toWebRequest(request, body)))) {
    return modern(request, response, body);
  }
  const id = request.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (!transport && id) {
    return response.writeHead(404).end("no such session");
  }
  if (!transport) {
    transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await peer({ era: "legacy" }).connect(transport);
  }
  await transport.handleRequest(request, response, body);
}

let modern;

switch (process.argv[2]) {
  case "stdio":
    serveStdio(peer);
    break;
  case "http": {
    const handler = sdk.createMcpHandler(peer, { legacy: "reject" });
    modern = toNodeHandler(handler);
    notify = handler.notify;
    serve("/mcp", streamable);
    break;
  }
  default:
    console.error("usage: node typescript_v2_server.mjs stdio | http");
    process.exit(1);
}
