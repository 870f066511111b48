// What the clients in JavaScript share: they try what they are told, in order, and print what came of it.
//
// usage: node CLIENT.mjs PLAN, where PLAN is JSON, see `tests/it/interop/clients.rs`

// For one attempt; only a hang takes this long.
const LIMIT_MS = 10_000;

// Tries all of the plan with the client that `connect` makes: an object with `revision` and `close()`, and of
//   request(method, params, { onprogress, signal })   the result, or rejects
//   ping()                                            any request that always succeeds
//   subscribe(uri, told)                              calls `told` at each change
//   transport                                         which has been connected
// those that the plan needs.
export async function drive(connect) {
  const plan = JSON.parse(process.argv[2]);
  const client = await connect(plan);
  const outcomes = [];
  for (const what of plan.tries) {
    const attempt = attempts[what.column] ?? (what.params ? request : list);
    try {
      outcomes.push({ result: await within(LIMIT_MS, attempt(client, what)) });
    } catch (error) {
      outcomes.push({ failed: `${error?.stack ?? error}` });
    }
  }
  const text = JSON.stringify({ revision: client.revision, outcomes });
  await within(LIMIT_MS, client.close());
  process.stdout.write(`${text}\n`, () => process.exit(0));
}

async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came of it within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const request = (client, { method, params }) => client.request(method, params, {});

// All pages, as one array.
async function list(client, { method }) {
  const items = [];
  for (let cursor; ; ) {
    const { nextCursor, ...page } = await client.request(method, cursor ? { cursor } : {}, {});
    items.push(...Object.values(page).find(Array.isArray));
    if (!nextCursor) {
      return items;
    }
    cursor = nextCursor;
  }
}

const attempts = {
  // The SDKs drop reports that arrive together with the answer, whoever sends them, so the transport is asked.
  async progress({ transport, request }, { method, params }) {
    const reports = [];
    const { onmessage } = transport;
    transport.onmessage = (message, extra) => {
      if (message.method === "notifications/progress") {
        reports.push(message.params.progress);
      }
      onmessage(message, extra);
    };
    const result = await request(method, params, { onprogress() {} });
    transport.onmessage = onmessage;
    return { result, reports };
  },

  // Gives up a call that has shown that it runs, and looks whether the server noticed, where it tells.
  async cancel(client, { method, params, counter }) {
    const count = { name: counter, arguments: {} };
    const counted = async () => JSON.stringify((await client.request(method, count, {})).content);
    const before = counter && (await counted());
    const abort = new AbortController();
    const started = Promise.withResolvers();
    const call = client.request(method, params, { onprogress: started.resolve, signal: abort.signal });
    const ended = call.then(
      () => "answered",
      () => "given up",
    );
    await Promise.race([started.promise, ended]);
    abort.abort();
    if ((await ended) !== "given up") {
      throw new Error("the call did not wait");
    }
    if (!counter) {
      await client.ping();
      return { noticed: null };
    }
    while ((await counted()) === before) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { noticed: true };
  },

  // Servers may agree before they listen to changes themselves, so the resource is changed until one is told.
  async subscribe(client, { uri, change }) {
    const changed = Promise.withResolvers();
    await client.subscribe(uri, changed.resolve);
    for (;;) {
      await client.request(change.method, change.params, {});
      const told = await Promise.race([
        changed.promise.then(() => true),
        new Promise((resolve) => setTimeout(resolve, 500)),
      ]);
      if (told) {
        return { told };
      }
    }
  },
};

// What the user, the model and the host of the client answer: Ada, who agrees to everything, `42`, and one folder.
export const CAPABILITIES = { elicitation: {}, roots: {}, sampling: {} };
export const SAMPLED = {
  role: "assistant",
  content: { type: "text", text: "42" },
  model: "deep-thought",
  stopReason: "endTurn",
};
export const ROOTS = { roots: [{ uri: "file:///srv/project", name: "project" }] };

export function elicited({ requestedSchema }) {
  const { properties = {}, required = [] } = requestedSchema ?? {};
  const content = {};
  for (const [name, field] of Object.entries(properties)) {
    if (field.default !== undefined) {
      content[name] = field.default;
    } else if (required.includes(name)) {
      content[name] = { number: 1, integer: 1, boolean: true }[field.type] ?? "Ada";
    }
  }
  return { action: "accept", content };
}
