"""The client of the second generation of the official Python SDK, which knows both eras.

usage: python_v2_client.py PLAN
"""

import warnings
from contextlib import asynccontextmanager

import anyio
from clients import MODEL, ROOT, SAMPLED, Attempts, elicited, plan, wire
from mcp import Client, StdioServerParameters, types
from mcp.client.sse import sse_client

# What the newest revision gave up is tried all the same.
warnings.simplefilter("ignore")


def server(plan: dict):
    match plan["transport"]:
        case "http":
            return plan["url"]
        case "sse":
            return sse_client(plan["url"])
        case "stdio":
            command, *args = plan["command"]
            return StdioServerParameters(command=command, args=args)


async def elicit(context, params):
    return types.ElicitResult(action="accept", content=elicited(params.requested_schema))


async def sample(context, params):
    content = types.TextContent(type="text", text=SAMPLED)
    return types.CreateMessageResult(role="assistant", content=content, model=MODEL, stop_reason="endTurn")


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri=ROOT, name="project")])


async def main(plan: dict) -> None:
    watched = {}

    async def note(message) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            if told := watched.get(message.params.uri):
                told.set()

    async with Client(
        server(plan),
        mode="legacy" if plan["era"] == "handshake" else "auto",
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
        message_handler=note,
    ) as client:
        handshake = client.protocol_version < "2026"

        async def request(method: str, params: dict, progress=None) -> dict:
            match method:
                case "tools/list":
                    return wire(await client.list_tools(**params))
                case "prompts/list":
                    return wire(await client.list_prompts(**params))
                case "resources/list":
                    return wire(await client.list_resources(**params))
                case "resources/templates/list":
                    return wire(await client.list_resource_templates(**params))
                case "tools/call":
                    return wire(await client.call_tool(**params, progress_callback=progress))
                case "prompts/get":
                    return wire(await client.get_prompt(**params))
                case "resources/read":
                    return wire(await client.read_resource(**params))

        @asynccontextmanager
        async def subscribe(uri: str, told: anyio.Event):
            if handshake:
                watched[uri] = told
                await client.subscribe_resource(uri)
                yield
                return

            async def listen() -> None:
                async for _ in changes:
                    told.set()

            async with client.listen(resource_subscriptions=[uri]) as changes, anyio.create_task_group() as group:
                group.start_soon(listen)
                yield
                group.cancel_scope.cancel()

        # The stateless era has no ping.
        ping = client.send_ping if handshake else client.list_tools
        await Attempts(request, ping, subscribe).run(plan["tries"], client.protocol_version)


anyio.run(main, plan())
