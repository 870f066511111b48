"""What the clients in Python share: they try what they are told, in order, and print what came of it.

usage: CLIENT.py PLAN, where PLAN is JSON, see `tests/it/interop/clients.rs`
"""

import json
import sys
import traceback

import anyio

# For one attempt, in seconds; only a hang takes this long.
LIMIT = 10

SAMPLED = "42"
MODEL = "deep-thought"
ROOT = "file:///srv/project"


def plan() -> dict:
    return json.loads(sys.argv[1])


def elicited(schema: dict) -> dict:
    """A form filled in by a user who is called Ada and agrees to everything."""
    content = {}
    for name, field in schema.get("properties", {}).items():
        if "default" in field:
            content[name] = field["default"]
        elif name in schema.get("required", []):
            content[name] = {"number": 1, "integer": 1, "boolean": True}.get(field.get("type"), "Ada")
    return content


def wire(result) -> dict:
    """A result as it was on the wire."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


class Attempts:
    """Tries everything with `request(method, params, progress)`, which gives a result as on the wire.

    `subscribe(uri, told)` is a context in which the event `told` is set at each change, `ping()` any request that
    always succeeds. Those that the plan does not need may be `None`.
    """

    def __init__(self, request, ping=None, subscribe=None):
        self.request = request
        self.ping = ping
        self.subscribe = subscribe

    async def run(self, tries: list, revision: str) -> None:
        outcomes = []
        for what in tries:
            attempt = getattr(self, "try_" + what["column"], self.ask if "params" in what else self.list)
            try:
                with anyio.fail_after(LIMIT):
                    outcomes.append({"result": await attempt(what)})
            except Exception:
                outcomes.append({"failed": traceback.format_exc()})
        print(json.dumps({"revision": revision, "outcomes": outcomes}), flush=True)

    async def ask(self, what: dict):
        return await self.request(what["method"], what["params"])

    async def list(self, what: dict):
        """All pages, as one list."""
        items, cursor = [], None
        while True:
            page = await self.request(what["method"], {"cursor": cursor} if cursor else {})
            items += next(value for value in page.values() if isinstance(value, list))
            if not (cursor := page.get("nextCursor")):
                return items

    async def try_progress(self, what: dict):
        reports = []

        async def report(progress: float, total: float | None, message: str | None) -> None:
            reports.append(progress)

        result = await self.request(what["method"], what["params"], report)
        return {"result": result, "reports": reports}

    async def try_cancel(self, what: dict):
        """Gives up a call that has shown that it runs, and looks whether the server noticed, where it tells."""

        async def counted():
            result = await self.request(what["method"], {"name": what["counter"], "arguments": {}})
            return result["content"]

        before = await counted() if what["counter"] else None
        started, answered = anyio.Event(), False

        async def report(progress: float, total: float | None, message: str | None) -> None:
            started.set()

        async def call() -> None:
            nonlocal answered
            await self.request(what["method"], what["params"], report)
            answered = True
            started.set()

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await started.wait()
            group.cancel_scope.cancel()
        if answered:
            raise RuntimeError("the call did not wait")
        if not what["counter"]:
            await self.ping()
            return {"noticed": None}
        while await counted() == before:
            await anyio.sleep(0.02)
        return {"noticed": True}

    async def try_subscribe(self, what: dict):
        """Servers may agree before they listen to changes themselves, so the resource is changed until one is told."""
        told = anyio.Event()
        async with self.subscribe(what["uri"], told):
            while not told.is_set():
                await self.request(what["change"]["method"], what["change"]["params"])
                with anyio.move_on_after(0.5):
                    await told.wait()
        return {"told": True}
