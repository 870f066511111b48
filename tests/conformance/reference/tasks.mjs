// The tasks extension (SEP-2663), which the SDK leaves to the server: tools that answer with a task.

import { randomUUID } from "node:crypto";
import { load, pause, text } from "../../peers/common.mjs";

const sdk = load("@modelcontextprotocol/server");
const { z } = load("zod");

const EXTENSION = "io.modelcontextprotocol/tasks";
const ENDED = ["completed", "failed", "cancelled"];

// Of the whole process: a task belongs to no session.
const tasks = new Map();

const declared = ({ mcpReq }) =>
  mcpReq.envelope?.["io.modelcontextprotocol/clientCapabilities"]?.extensions?.[EXTENSION] !== undefined;

function required(context) {
  if (!declared(context)) {
    const requiredCapabilities = { extensions: { [EXTENSION]: {} } };
    throw new sdk.MissingRequiredClientCapabilityError({ requiredCapabilities });
  }
}

class Task {
  #abort = new AbortController();
  #answered;
  #answers = {};
  #state = {
    taskId: randomUUID(),
    status: "working",
    createdAt: new Date().toISOString(),
    lastUpdatedAt: new Date().toISOString(),
    ttlMs: 600_000,
    pollIntervalMs: 100,
  };

  // Begins to do `work`, whose outcome is the task's.
  constructor(work) {
    tasks.set(this.#state.taskId, this);
    work({ signal: this.#abort.signal, ask: (requests) => this.#ask(requests) }).then(
      (result) => this.#set({ status: "completed", result }),
      ({ message }) => this.#set({ status: "failed", error: { code: -32603, message } }),
    );
  }

  get state() {
    return this.#state;
  }

  // An ended task stays as it is.
  #set(changes) {
    if (!ENDED.includes(this.#state.status)) {
      this.#state = { ...this.#state, ...changes, lastUpdatedAt: new Date().toISOString() };
    }
  }

  // The answers to all of `inputRequests`, which may come one by one.
  async #ask(inputRequests) {
    const answered = new Promise((resolve) => (this.#answered = resolve));
    this.#set({ status: "input_required", inputRequests });
    await answered;
    return this.#answers;
  }

  update(answers) {
    const inputRequests = { ...this.#state.inputRequests };
    for (const key of Object.keys(answers).filter((key) => key in inputRequests)) {
      this.#answers[key] = answers[key];
      delete inputRequests[key];
    }
    if (this.#state.status !== "input_required") {
      return;
    }
    if (Object.keys(inputRequests).length === 0) {
      this.#set({ status: "working", inputRequests: undefined });
      this.#answered();
    } else {
      this.#set({ inputRequests });
    }
  }

  cancel() {
    this.#set({ status: "cancelled", inputRequests: undefined });
    this.#abort.abort();
  }
}

function find(taskId) {
  const task = tasks.get(taskId);
  if (!task) {
    throw new sdk.ProtocolError(sdk.ProtocolErrorCode.InvalidParams, `no task ${taskId}`);
  }
  return task;
}

// Serves the methods of the extension, and says so.
export function serveTasks({ server }) {
  server.registerCapabilities({ extensions: { [EXTENSION]: {} } });
  const params = z.looseObject({ taskId: z.string() });
  const method = (name, answer) =>
    server.setRequestHandler(name, { params }, async ({ taskId }, context) => {
      required(context);
      return answer(find(taskId), context) ?? {};
    });
  method("tasks/get", ({ state }) => state);
  method("tasks/cancel", (task) => task.cancel());
  method("tasks/update", (task, { mcpReq }) => task.update(mcpReq.inputResponses ?? {}));
}

const elicit = (message, property, type) => ({
  method: "elicitation/create",
  params: {
    mode: "form",
    message,
    requestedSchema: { type: "object", properties: { [property]: { type } }, required: [property] },
  },
});

// Adds the tools to a server. A client that does not know tasks waits for the result, or gets an error.
export function addTaskTools(tool, { era, ask }) {
  const none = z.object({});
  const supporting = (name, description, inputSchema, work, { only = false } = {}) =>
    tool(name, description, inputSchema, async (args, context) => {
      if (era === "modern" && (only || declared(context))) {
        required(context);
        // The SDK insists on content in every result of a tool.
        return { content: [], resultType: "task", ...new Task((task) => work(args, task)).state };
      }
      const { signal } = context.mcpReq;
      // Without a task there is nothing to keep while a question is open: the call is made again with the answer.
      return work(args, { signal, ask: (requests) => ask(requests, context) });
    });

  tool("greet", "Greets at once", z.object({ name: z.string() }), ({ name }) => text(`Hello, ${name}!`));
  supporting(
    "slow_compute",
    "Takes so many seconds",
    z.object({ seconds: z.number(), label: z.string().optional() }),
    async ({ seconds, label }, { signal }) => {
      await pause(1000 * seconds, signal);
      return text(`${label ?? "It"} took ${seconds} seconds`);
    },
  );
  supporting(
    "failing_job",
    "Fails after a while",
    none,
    async (_, { signal }) => {
      await pause(300, signal);
      return { ...text("The job has failed"), isError: true };
    },
    { only: true },
  );
  supporting("protocol_error_job", "Fails without a result", none, async () => {
    throw new Error("The job has crashed");
  });
  const file = z.object({ filename: z.string() });
  supporting("confirm_delete", "Deletes nothing, after asking", file, async ({ filename }, task) => {
    const answers = await task.ask({ confirm: elicit(`Delete ${filename}?`, "confirm", "boolean") });
    return text(`${filename}: ${answers.confirm.action}`);
  });
  supporting("multi_input", "Asks two things at once", none, async (_, task) => {
    const one = elicit("What is the first?", "name", "string");
    const two = elicit("And the second?", "name", "string");
    const answers = await task.ask({ one, two });
    return text(`${answers.one.action}, ${answers.two.action}`);
  });
}

// The result of a tool that has asked what it needed and goes on as a task.
export function asTask(context, work) {
  required(context);
  return { content: [], resultType: "task", ...new Task(work).state };
}
