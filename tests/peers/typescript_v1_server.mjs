// An MCP server on the first generation of the official TypeScript SDK, which knows the handshake alone.
//
// usage: node typescript_v1_server.mjs stdio | http | sse

import { randomUUID } from "node:crypto";
import { COUNTER, GREETING, NAME_SCHEMA, QUESTION, load, pause, serve, text } from "./common.mjs";

const { McpServer, ResourceTemplate } = load("@modelcontextprotocol/sdk/server/mcp.js");
const { StdioServerTransport } = load("@modelcontextprotocol/sdk/server/stdio.js");
const { SSEServerTransport } = load("@modelcontextprotocol/sdk/server/sse.js");
const { StreamableHTTPServerTransport } = load("@modelcontextprotocol/sdk/server/streamableHttp.js");
const types = load("@modelcontextprotocol/sdk/types.js");
const { z } = load("zod");

// Of the whole process: how often a call of `slow` was cancelled, and `count` called.
let cancelled = 0;
let counter = 0;

function peer() {
  const server = new McpServer(
    { name: "typescript-v1-peer", version: "1.0.0" },
    { instructions: "A peer for tests", capabilities: { resources: { subscribe: true } } },
  );
  const subscriptions = new Set();
  const protocol = server.server;
  protocol.setRequestHandler(types.SubscribeRequestSchema, ({ params }) => {
    subscriptions.add(params.uri);
    return {};
  });
  protocol.setRequestHandler(types.UnsubscribeRequestSchema, ({ params }) => {
    subscriptions.delete(params.uri);
    return {};
  });

  const tool = (name, description, inputSchema, call, more = {}) =>
    server.registerTool(name, { description, inputSchema, ...more }, call);
  tool("echo", "Returns the message", { message: z.string() }, ({ message }) => text(`Echo: ${message}`));
  tool(
    "add",
    "Adds two numbers; the result is structured",
    { a: z.number(), b: z.number() },
    ({ a, b }) => ({ ...text(`${a + b}`), structuredContent: { total: a + b } }),
    { outputSchema: { total: z.number() } },
  );
  tool("fail", "Fails with the given reason", { reason: z.string() }, ({ reason }) => ({
    ...text(reason),
    isError: true,
  }));
  tool(
    "slow",
    "Takes `steps` times `step_ms` milliseconds and reports progress after each step",
    { steps: z.number(), step_ms: z.number() },
    async ({ steps, step_ms }, extra) => {
      for (let step = 1; step <= steps; step++) {
        try {
          await pause(step_ms, extra.signal);
        } catch (error) {
          cancelled++;
          throw error;
        }
        const progressToken = extra._meta?.progressToken;
        if (progressToken !== undefined) {
          const params = { progressToken, progress: step, total: steps };
          await extra.sendNotification({ method: "notifications/progress", params });
        }
      }
      return text(`${steps} steps done`);
    },
  );
  tool("cancelled", "How many calls of `slow` were cancelled", {}, () => text(`${cancelled}`));
  tool("count", "Adds one to the counter", {}, async () => {
    counter++;
    if (subscriptions.has(COUNTER)) {
      await protocol.sendResourceUpdated({ uri: COUNTER });
    }
    return text(`${counter}`);
  });
  tool("greet", "Greets the user after asking for their name", {}, async (_, extra) => {
    const params = { message: "What is your name?", requestedSchema: NAME_SCHEMA };
    const answer = await extra.sendRequest({ method: "elicitation/create", params }, types.ElicitResultSchema);
    return text(answer.action === "accept" ? `Hello, ${answer.content.name}` : `They said: ${answer.action}`);
  });
  tool("ask", "Asks the model of the client", {}, async (_, extra) => {
    const request = { method: "sampling/createMessage", params: QUESTION };
    const { content } = await extra.sendRequest(request, types.CreateMessageResultSchema);
    return text(`It said: ${content.text}`);
  });
  tool("roots", "Where the client lets servers work", {}, async (_, extra) => {
    const { roots } = await extra.sendRequest({ method: "roots/list" }, types.ListRootsResultSchema);
    return text(roots.map(({ uri }) => uri).join("\n"));
  });

  const contents = (uri, text) => ({ contents: [{ uri: uri.href, mimeType: "text/plain", text }] });
  server.registerResource("greeting", GREETING, {}, (uri) => contents(uri, "Hello from the TypeScript peer"));
  server.registerResource("counter", COUNTER, {}, (uri) => contents(uri, `${counter}`));
  server.registerResource(
    "square",
    new ResourceTemplate("peer://square/{number}", { list: undefined }),
    { description: "The square of a number" },
    (uri, { number }) => contents(uri, `${number * number}`),
  );
  const argsSchema = { topic: z.string() };
  server.registerPrompt("review", { description: "Asks for a review", argsSchema }, ({ topic }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Please review ${topic}.` } }],
  }));
  return server;
}

// One server for each session.
const sessions = new Map();

async function streamable(request, response) {
  const id = request.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (!transport && id) {
    return response.writeHead(404).end("no such session");
  }
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
    });
    await peer().connect(transport);
  }
  await transport.handleRequest(request, response);
}

async function sse(request, response) {
  if (request.method === "GET") {
    const transport = new SSEServerTransport("/messages", response);
    sessions.set(transport.sessionId, transport);
    transport.onclose = () => sessions.delete(transport.sessionId);
    return peer().connect(transport);
  }
  const id = new URL(request.url, "http://127.0.0.1").searchParams.get("sessionId");
  const transport = sessions.get(id);
  return transport ? transport.handlePostMessage(request, response) : response.writeHead(404).end();
}

switch (process.argv[2]) {
  case "stdio":
    await peer().connect(new StdioServerTransport());
    break;
  case "http":
    serve("/mcp", streamable);
    break;
  case "sse":
    serve("/sse", sse);
    break;
  default:
    console.error("usage: node typescript_v1_server.mjs stdio | http | sse");
    process.exit(1);
}
