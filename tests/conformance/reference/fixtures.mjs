// What the scenarios of the suite ask for, for both eras alike: a handler that needs an answer of the client asks
// for it in its result and is called again, which the SDK turns into a request of its own where the era wants that.

import { randomBytes } from "node:crypto";
import { load, pause, text } from "../../peers/common.mjs";
import { addTaskTools, asTask, serveTasks } from "./tasks.mjs";

const sdk = load("@modelcontextprotocol/server");
const { SkillCatalog, memorySkillFiles } = load("@modelcontextprotocol/server/ext/skills");
const { z } = load("zod");
const { inputRequired, inputResponse } = sdk;

const user_message = (text) => ({ messages: [{ role: "user", content: { type: "text", text } }] });

// One red pixel, and a sound without a sample.
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const IMAGE = { type: "image", data: PNG, mimeType: "image/png" };
const WATCHED = "test://watched-resource";

// Keywords of JSON Schema 2020-12 that must arrive as they are.
const SCHEMA_2020_12 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

const skill = (name, description) => `---\nname: ${name}\ndescription: ${description}\n---\n\n# ${name}\n`;
const SKILLS = await SkillCatalog.load(
  memorySkillFiles({
    "count-words/SKILL.md": skill("count-words", "Counts the words of a text"),
    "count-words/references/WORDS.md": "A word is what stands between spaces.\n",
    "name-things/SKILL.md": skill("name-things", "Finds names"),
  }),
);

// Signs what a client keeps between two rounds of one call.
const states = sdk.createRequestStateCodec({ key: randomBytes(32) });

// Whether the tool and the prompt that come and go are there now.
const there = { tool: false, prompt: false };
// Of the servers that live longer than a request.
const living = new Set();

// A question instead of a result.
class Question {
  constructor(result) {
    this.result = result;
  }
}

// The answers to all of the questions; asks them if one is missing.
function ask(questions, { mcpReq }, requestState) {
  const isMissing = (key) => inputResponse(mcpReq.inputResponses, key).kind === "missing";
  if (Object.keys(questions).some(isMissing)) {
    throw new Question(inputRequired({ inputRequests: questions, requestState }));
  }
  return mcpReq.inputResponses;
}

function form(message, properties) {
  const requestedSchema = { type: "object", properties, required: Object.keys(properties) };
  return inputRequired.elicit({ message, requestedSchema });
}
const elicit = (message, property, type = "string") => form(message, { [property]: { type } });
const sample = (question, maxTokens = 100) =>
  inputRequired.createMessage({ ...user_message(question), maxTokens });

const titled = (...names) => names.map((name, index) => ({ const: `value${index + 1}`, title: name }));
const OPTIONS = ["option1", "option2", "option3"];
const ENUMS = {
  untitledSingle: { type: "string", enum: OPTIONS },
  titledSingle: { type: "string", oneOf: titled("First Option", "Second Option", "Third Option") },
  legacyEnum: {
    type: "string",
    enum: ["opt1", "opt2", "opt3"],
    enumNames: ["Option One", "Option Two", "Option Three"],
  },
  untitledMulti: { type: "array", items: { type: "string", enum: OPTIONS } },
  titledMulti: { type: "array", items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") } },
};
const DEFAULTS = {
  name: { type: "string", default: "John Doe" },
  age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 },
  status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", default: true },
};

// A server for one era; `notify` tells the subscriptions of clients that keep no session.
export function reference({ era }, notify) {
  const server = new sdk.McpServer(
    { name: "conformance-reference", version: "1.0.0" },
    {
      instructions: "The reference for conformance tests",
      capabilities: { logging: {}, resources: { subscribe: true } },
      requestState: { verify: states.verify },
    },
  );
  const tools = new Map();
  const tool = (name, description, inputSchema, call) => {
    tools.set(name, { inputSchema, call });
    return server.registerTool(name, { description, inputSchema }, call);
  };
  const prompt = (name, description, argsSchema, get) =>
    server.registerPrompt(name, { description, argsSchema }, get);
  addTools(tool, server, era);
  addTaskTools(tool, { era, ask });
  addPrompts(prompt);
  addWhatComesAndGoes(tool, prompt, server, era, notify);
  addResources(server, era);
  serveCalls(server, tools);
  SKILLS.attach(server);
  if (era === "modern") {
    serveTasks(server);
  }
  return server;
}

// The SDK makes a failed result of every error, also of those that the protocol wants as errors.
function serveCalls({ server }, tools) {
  server.setRequestHandler("tools/call", async ({ params }, context) => {
    const tool = tools.get(params.name);
    if (!tool || (params.name === "test_sometimes" && !there.tool)) {
      throw new sdk.ProtocolError(sdk.ProtocolErrorCode.InvalidParams, `Unknown tool: ${params.name}`);
    }
    const parsed = await tool.inputSchema["~standard"].validate(params.arguments ?? {});
    if (parsed.issues) {
      const why = parsed.issues.map(({ message }) => message).join(", ");
      return { ...text(`Invalid arguments: ${why}`), isError: true };
    }
    try {
      return await tool.call(parsed.value, context);
    } catch (error) {
      if (error instanceof Question) {
        return error.result;
      }
      if (error instanceof sdk.ProtocolError) {
        throw error;
      }
      return { ...text(error.message), isError: true };
    }
  });
}

function addTools(tool, server, era) {
  const none = z.object({});
  const fixed = (name, description, result) => tool(name, description, none, () => result);
  const resource = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });

  fixed("test_simple_text", "Text", text("This is a simple text response for testing."));
  fixed("test_image_content", "An image", { content: [IMAGE] });
  fixed("test_audio_content", "A sound", { content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }] });
  const embedded = resource("test://embedded-resource", "text/plain", "This is an embedded resource content.");
  fixed("test_embedded_resource", "A resource", { content: [embedded] });
  const mixed = resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}');
  const several = [{ type: "text", text: "Multiple content types test:" }, IMAGE, mixed];
  fixed("test_multiple_content_types", "Text, an image and a resource", { content: several });
  tool("test_error_handling", "Fails", none, () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
  tool("test_tool_with_logging", "Writes to the log", none, async (_, { mcpReq }) => {
    await mcpReq.log("info", "Tool execution started");
    await pause(50, mcpReq.signal);
    await mcpReq.log("info", "Tool processing data");
    await pause(50, mcpReq.signal);
    await mcpReq.log("info", "Tool execution completed");
    return text("Logged three times");
  });
  tool("test_logging_tool", "Writes to the log if the client wants that", none, async (_, { mcpReq }) => {
    await mcpReq.log("info", "A line of the log");
    return text("Logged");
  });
  tool("test_tool_with_progress", "Reports its progress", none, async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined) {
        await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 100 } });
      }
      await pause(50, mcpReq.signal);
    }
    return text("Done");
  });
  tool("test_reconnection", "Closes the stream before it answers on it", none, async (_, { http, mcpReq }) => {
    http?.closeSSE?.();
    await pause(100, mcpReq.signal);
    return text("The stream was closed and taken up again");
  });
  tool("json_schema_2020_12_tool", "Has a schema with rare keywords", sdk.fromJsonSchema(SCHEMA_2020_12), (args) =>
    text(JSON.stringify(args)),
  );
  const region = { type: "string", "x-mcp-header": "Region" };
  const inHeaders = sdk.fromJsonSchema({ type: "object", properties: { region } });
  tool("test_custom_header", "Has an argument that clients repeat in a header", inHeaders, ({ region }) =>
    text(`Region: ${region}`),
  );

  const asking = (name, description, questions, inputSchema = none) =>
    tool(name, description, inputSchema, (args, context) => {
      const asked = typeof questions === "function" ? questions(args) : questions;
      return text(JSON.stringify(ask(asked, context)));
    });
  asking(
    "test_sampling",
    "Asks the model of the client",
    ({ prompt }) => ({ answer: sample(prompt) }),
    z.object({ prompt: z.string() }),
  );
  const user = { username: { type: "string" }, email: { type: "string" } };
  asking(
    "test_elicitation",
    "Asks the user",
    ({ message }) => ({ answer: form(message, user) }),
    z.object({ message: z.string() }),
  );
  asking("test_elicitation_sep1034_defaults", "Asks with defaults", { answer: form("Who is it?", DEFAULTS) });
  asking("test_elicitation_sep1330_enums", "Asks to choose", { answer: form("Which ones?", ENUMS) });
  const go_on = elicit("Go on?", "ok", "boolean");
  asking("test_streaming_elicitation", "Asks the user while it streams", { answer: go_on });
  asking("test_missing_capability", "Needs a client with a model", { answer: sample("Is there a model?") });
  const name = elicit("What is your name?", "name");
  asking("test_input_required_result_elicitation", "Asks for a name", { user_name: name });
  asking("test_input_required_result_sampling", "Asks for a capital", {
    capital_question: sample("What is the capital of France?"),
  });
  const client_roots = inputRequired.listRoots();
  asking("test_input_required_result_list_roots", "Asks for the roots", { client_roots });

  const remembering = (tool_name, description, questions) =>
    tool(tool_name, description, none, async (_, context) => {
      const state = context.mcpReq.requestState();
      ask(questions, context, await states.mint({ tool_name }));
      if (state?.tool_name !== tool_name) {
        throw new sdk.ProtocolError(sdk.ProtocolErrorCode.InvalidParams, "no state of this tool");
      }
      return text("state-ok");
    });
  const confirm = { confirm: elicit("Please confirm", "ok", "boolean") };
  remembering("test_input_required_result_request_state", "Asks and remembers", confirm);
  remembering("test_input_required_result_tampered_state", "Asks and lets nobody change what it knows", confirm);
  const three = { user_name: name, greeting: sample("Generate a greeting", 50), client_roots };
  remembering("test_input_required_result_multiple_inputs", "Asks three things at once", three);
  const second = { step2: elicit("Step 2: What is your favorite color?", "color") };
  tool("test_input_required_result_multi_round", "Asks twice", none, async (_, context) => {
    if (context.mcpReq.requestState()?.round !== 2) {
      const first = { step1: elicit("Step 1: What is your name?", "name") };
      const { step1 } = ask(first, context, await states.mint({ round: 1 }));
      const requestState = await states.mint({ round: 2, name: step1.content?.name });
      throw new Question(inputRequired({ inputRequests: second, requestState }));
    }
    const { step2 } = ask(second, context);
    return text(`${context.mcpReq.requestState().name} likes ${step2.content?.color}`);
  });
  tool("test_input_required_result_capabilities", "Asks what the client can answer", none, (_, context) => {
    const { envelope } = context.mcpReq;
    const declared =
      envelope?.["io.modelcontextprotocol/clientCapabilities"] ?? server.server.getClientCapabilities();
    const questions = {
      ...(declared?.sampling && { model: sample("Is there a model?") }),
      ...(declared?.elicitation && { user: elicit("Is there a user?", "ok", "boolean") }),
    };
    return text(Object.keys(ask(questions, context)).join(", "));
  });

  tool("test_tool_with_task", "Asks for a name and then takes its time", none, (_, context) => {
    const { user_name } = ask({ user_name: name }, context);
    const greeting = text(`Hello, ${user_name.content?.name}!`);
    return era === "modern" ? asTask(context, async () => greeting) : greeting;
  });
}

// A tool and a prompt that are there or not, and the tools that change that.
function addWhatComesAndGoes(tool, prompt, server, era, notify) {
  const none = z.object({});
  const sometimes = {
    tool: tool("test_sometimes", "Comes and goes", none, () => text("Here I am")),
    prompt: prompt("test_sometimes", "Comes and goes", undefined, () => user_message("Here I am")),
  };
  for (const kind of ["tool", "prompt"]) {
    if (!there[kind]) {
      sometimes[kind].disable();
    }
    tool(`test_trigger_${kind}_change`, `Lets a ${kind} come or go`, none, () => {
      there[kind] = !there[kind];
      living.forEach((one) => (there[kind] ? one[kind].enable() : one[kind].disable()));
      notify?.[`${kind}sChanged`]();
      return text(there[kind] ? "It is there" : "It is gone");
    });
  }
  if (era === "legacy" || !notify) {
    living.add(sometimes);
    server.server.onclose = () => living.delete(sometimes);
  }
}

function addPrompts(prompt) {
  prompt("test_simple_prompt", "Text", undefined, () => user_message("This is a simple prompt for testing."));
  const complete = (start) => ["paris", "park", "party"].filter((value) => value.startsWith(start));
  const two = z.object({ arg1: sdk.completable(z.string(), complete), arg2: z.string() });
  prompt("test_prompt_with_arguments", "Text with two arguments", two, ({ arg1, arg2 }) =>
    user_message(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`),
  );
  const before = (content, text) => {
    const { messages } = user_message(text);
    return { messages: [{ role: "user", content }, ...messages] };
  };
  const where = z.object({ resourceUri: z.string() });
  prompt("test_prompt_with_embedded_resource", "A resource", where, ({ resourceUri: uri }) => {
    const resource = { uri, mimeType: "text/plain", text: "Embedded resource content for testing." };
    return before({ type: "resource", resource }, "Please process the embedded resource above.");
  });
  prompt("test_prompt_with_image", "An image", undefined, () => before(IMAGE, "Please analyze the image above."));
  prompt("test_input_required_result_prompt", "Asks for its context", undefined, (context) => {
    try {
      const question = elicit("What context should the prompt use?", "context");
      const { user_context } = ask({ user_context: question }, context);
      return user_message(`Context: ${user_context.content?.context}`);
    } catch (error) {
      if (error instanceof Question) {
        return error.result;
      }
      throw error;
    }
  });
}

function addResources(server, era) {
  const resource = (name, uri, mimeType, contents) =>
    server.registerResource(name, uri, { description: `The resource ${name}`, mimeType }, () => ({
      contents: [{ uri, mimeType, ...contents }],
    }));
  const static_text = "This is the content of the static text resource.";
  resource("static-text", "test://static-text", "text/plain", { text: static_text });
  resource("static-binary", "test://static-binary", "image/png", { blob: PNG });
  resource("watched-resource", WATCHED, "text/plain", { text: "Nothing has happened yet." });
  const mimeType = "application/json";
  server.registerResource(
    "template",
    new sdk.ResourceTemplate("test://template/{id}/data", { list: undefined }),
    { description: "Data of an id", mimeType },
    ({ href }, { id }) => {
      const data = { id, templateTest: true, data: `Data for ID: ${id}` };
      return { contents: [{ uri: href, mimeType, text: JSON.stringify(data) }] };
    },
  );
  if (era === "legacy") {
    server.server.setRequestHandler("resources/subscribe", () => ({}));
    server.server.setRequestHandler("resources/unsubscribe", () => ({}));
  }
}
