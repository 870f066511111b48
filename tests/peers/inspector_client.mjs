// The command line of the MCP Inspector, which is started anew for everything that is tried.
//
// usage: node inspector_client.mjs PLAN

import { execFile } from "node:child_process";
import { drive } from "./clients.mjs";
import { load } from "./common.mjs";

const program = load.resolve("@modelcontextprotocol/inspector/clients/launcher/build/index.js");

const options = {
  "tools/call": ({ name, arguments: args }) => ["--tool-name", name, "--tool-args-json", JSON.stringify(args)],
  "prompts/get": ({ name, arguments: args }) => [
    "--prompt-name",
    name,
    "--prompt-args",
    ...Object.entries(args).map(([key, value]) => `${key}=${value}`),
  ],
  "resources/read": ({ uri }) => ["--uri", uri],
};

await drive(async ({ transport, url, command, era }) => {
  const server = url ? ["--transport", transport, "--server-url", url] : ["--", ...command];
  const request = (method, params) =>
    new Promise((resolve, reject) => {
      const what = ["--method", method, ...(options[method]?.(params) ?? [])];
      const how = ["--protocol-era", era === "handshake" ? "legacy" : "modern", "--format", "json"];
      const args = [program, "--cli", ...what, ...how, ...server];
      const child = execFile(process.execPath, args, (_, stdout, stderr) => {
        try {
          resolve(JSON.parse(stdout).result);
        } catch {
          reject(new Error(`${stdout}${stderr}`));
        }
      });
      child.stdin.end();
    });
  const { protocolVersion } = await request("initialize");
  return { revision: protocolVersion, request, close: async () => {} };
});
