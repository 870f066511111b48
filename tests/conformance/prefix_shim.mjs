// Lets the conformance suite, which knows the names of its tools and prompts, use an endpoint that puts a prefix
// before them: puts it on in requests, and takes it off in lists. All else goes through as it is, as it comes.
//
// usage: node prefix_shim.mjs URL PREFIX
//
// Prints the URL of its own endpoint as its first line, and ends when its standard input does.

import { Agent, request as send } from "node:http";
import { Transform } from "node:stream";
import { serve } from "../peers/common.mjs";

const [url, prefix] = process.argv.slice(2);
const target = new URL(url);
const agent = new Agent({ keepAlive: true });
const NAMED = { "tools/call": "tools", "prompts/get": "prompts" };

// Changes the message; whether it is one whose answer lists names.
function put_on({ method, params }) {
  if ((method === "tools/call" || method === "prompts/get") && params?.name !== undefined) {
    params.name = prefix + params.name;
  }
  if (method === "completion/complete" && params?.ref?.type === "ref/prompt") {
    params.ref.name = prefix + params.ref.name;
  }
  return method === "tools/list" || method === "prompts/list";
}

// Line by line, since an answer may be a stream of events. The text is not parsed: what is not a name keeps its bytes.
function take_off() {
  const name = new RegExp(`("name"\\s*:\\s*")${prefix}`, "g");
  let rest = "";
  return new Transform({
    decodeStrings: false,
    transform(chunk, _, done) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      done(null, lines.map((line) => `${line.replace(name, "$1")}\n`).join(""));
    },
    flush(done) {
      done(null, rest.replace(name, "$1"));
    },
  });
}

// Pairs of a header's name and its value.
function* headers({ rawHeaders }) {
  for (let index = 0; index < rawHeaders.length; index += 2) {
    yield [rawHeaders[index], rawHeaders[index + 1]];
  }
}

serve(target.pathname, async (request, response) => {
  const here = `127.0.0.1:${request.socket.localPort}`;
  let body = Buffer.concat(await Array.fromAsync(request));
  let lists = false;
  try {
    const message = JSON.parse(body);
    lists = put_on(message);
    body = Buffer.from(JSON.stringify(message));
  } catch {
    // Not ours to judge.
  }
  const changed = [...headers(request)].flatMap(([name, value]) => {
    switch (name.toLowerCase()) {
      case "content-length":
        return [name, `${body.length}`];
      case "mcp-name":
        return [name, NAMED[request.headers["mcp-method"]] ? prefix + value : value];
      // A client that means us means the endpoint.
      case "host":
      case "origin":
        return [name, value.replace(here, target.host)];
      default:
        return [name, value];
    }
  });
  const forwarded = send(target, { agent, method: request.method, headers: changed });
  forwarded.on("error", () => response.destroy());
  forwarded.on("response", (answer) => {
    const kept = [...headers(answer)].filter(([name]) => !lists || name.toLowerCase() !== "content-length");
    response.writeHead(answer.statusCode, answer.statusMessage, kept.flat());
    response.flushHeaders();
    answer.on("error", () => response.destroy());
    (lists ? answer.setEncoding("utf8").pipe(take_off()) : answer).pipe(response);
  });
  response.on("close", () => forwarded.destroy());
  forwarded.end(body.length > 0 ? body : undefined);
});
