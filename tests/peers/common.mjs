// What the peers in JavaScript share: where the packages are, and how a server lives and ends.

import { createServer } from "node:http";
import { createRequire } from "node:module";

// `cargo xtask peers` installs the packages there, not beside these files.
const FOLDER = new URL("../../target/peers/node/", import.meta.url);
export const PACKAGES = new URL("node_modules/", FOLDER);
export const load = createRequire(FOLDER);

// Listens on a free loopback port, prints the URL of the endpoint as the first line, and ends when standard
// input does, so that it never outlives the test that started it.
export function serve(path, handler) {
  const server = createServer(handler);
  server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}${path}`));
  process.stdin.resume().on("end", () => process.exit(0));
}

// Waits, or fails as soon as `signal` is aborted.
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      // Its event is over and will not come again.
      reject(new Error("cancelled"));
      return;
    }
    const abort = () => {
      clearTimeout(timer);
      reject(new Error("cancelled"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal.addEventListener("abort", abort, { once: true });
  });
}

export const text = (text) => ({ content: [{ type: "text", text }] });

export const GREETING = "peer://greeting";
export const COUNTER = "peer://counter";
export const NAME_SCHEMA = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
export const QUESTION = {
  messages: [{ role: "user", content: { type: "text", text: "What is the answer?" } }],
  maxTokens: 10,
};
