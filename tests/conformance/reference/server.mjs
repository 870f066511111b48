// The server that the official conformance suite knows: every tool, prompt and resource its scenarios ask for, on
// the second generation of the official TypeScript SDK, so that nothing of it is ours.
//
// usage: node server.mjs stdio | http [--era both | legacy | modern]
//
// Over HTTP it prints the URL of its endpoint as its first line, and ends when its standard input does.

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { load, serve } from "../../peers/common.mjs";
import { reference } from "./fixtures.mjs";

const sdk = load("@modelcontextprotocol/server");
const { serveStdio, StdioServerTransport } = load("@modelcontextprotocol/server/stdio");
const node = load("@modelcontextprotocol/node");

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { era: { type: "string", default: "both" } },
});
const [transport] = positionals;
const { era } = values;
if (!["stdio", "http"].includes(transport) || !["both", "legacy", "modern"].includes(era)) {
  console.error("usage: node server.mjs stdio | http [--era both | legacy | modern]");
  process.exit(1);
}

// What a stream sent, so that a client that lost it can go on where it was. A server lives as long as a run of the
// suite: nothing is forgotten.
class Events {
  #sent = [];

  async storeEvent(stream, message) {
    this.#sent.push({ stream, message });
    return `${this.#sent.length - 1}`;
  }

  async getStreamIdForEventId(id) {
    return this.#sent[id]?.stream;
  }

  async replayEventsAfter(id, { send }) {
    const { stream } = this.#sent[id];
    for (const [number, event] of this.#sent.entries()) {
      // What begins a stream, and tells a client nothing but an id, is no message.
      if (number > id && event.stream === stream && event.message.jsonrpc) {
        await send(`${number}`, event.message);
      }
    }
    return stream;
  }
}

// Serves the handshake era, which has no answers in requests: the SDK would take them for such all the same, and a
// client that sends them would look as if it were understood.
async function connect(transport) {
  await reference({ era: "legacy" }).connect(transport);
  const receive = transport.onmessage;
  transport.onmessage = (message, extra) => {
    delete message.params?.inputResponses;
    delete message.params?.requestState;
    receive(message, extra);
  };
}

// The handshake era over HTTP: a server for each session.
const sessions = new Map();

async function legacy(request, response, body) {
  const id = request.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (!transport && id) {
    return response.writeHead(404).end("no such session");
  }
  if (!transport) {
    transport = new node.NodeStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => sessions.set(id, transport),
      onsessionclosed: (id) => sessions.delete(id),
      eventStore: new Events(),
      retryInterval: 100,
    });
    await connect(transport);
  }
  await transport.handleRequest(request, response, body);
}

function http() {
  const handler = sdk.createMcpHandler((context) => reference(context, handler.notify), { legacy: "reject" });
  const modern = node.toNodeHandler(handler);
  const hosts = node.localhostHostValidation();
  const origins = node.localhostOriginValidation();
  serve("/mcp", async (request, response) => {
    if (!hosts(request, response) || !origins(request, response)) {
      return;
    }
    const chunks = await Array.fromAsync(request);
    const text = Buffer.concat(chunks).toString();
    let body;
    try {
      body = text === "" ? undefined : JSON.parse(text);
    } catch {
      const error = { code: -32700, message: "Parse error" };
      return response.writeHead(400).end(JSON.stringify({ jsonrpc: "2.0", id: null, error }));
    }
    const isLegacy = async () => sdk.isLegacyRequest(await node.toWebRequest(request, body));
    if (era === "legacy" || (era === "both" && (await isLegacy()))) {
      await legacy(request, response, body);
    } else {
      await modern(request, response, body);
    }
  });
}

function stdio() {
  if (era === "legacy") {
    connect(new StdioServerTransport());
  } else {
    serveStdio(reference, { legacy: era === "both" ? "serve" : "reject" });
  }
}

transport === "http" ? http() : stdio();
