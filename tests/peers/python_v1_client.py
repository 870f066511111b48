"""The client of the first generation of the official Python SDK, which knows the handshake alone.

usage: python_v1_client.py PLAN
"""

from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from clients import MODEL, ROOT, SAMPLED, Attempts, elicited, plan, wire
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


def transport(plan: dict):
    match plan["transport"]:
        case "http":
            return streamable_http_client(plan["url"])
        case "sse":
            return sse_client(plan["url"])
        case "stdio":
            command, *args = plan["command"]
            return stdio_client(StdioServerParameters(command=command, args=args))


async def elicit(context, params):
    return types.ElicitResult(action="accept", content=elicited(params.requestedSchema))


async def sample(context, params):
    content = types.TextContent(type="text", text=SAMPLED)
    return types.CreateMessageResult(role="assistant", content=content, model=MODEL, stopReason="endTurn")


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri=ROOT, name="project")])


async def main(plan: dict) -> None:
    watched = {}

    async def note(message) -> None:
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ResourceUpdatedNotification
        ):
            if told := watched.get(str(message.root.params.uri)):
                told.set()

    async with AsyncExitStack() as stack:
        read, write, *_ = await stack.enter_async_context(transport(plan))
        session = await stack.enter_async_context(
            ClientSession(
                read,
                write,
                elicitation_callback=elicit,
                sampling_callback=sample,
                list_roots_callback=roots,
                message_handler=note,
            )
        )
        opened = await session.initialize()

        async def request(method: str, params: dict, progress=None) -> dict:
            page = types.PaginatedRequestParams(**params) if method.endswith("/list") else None
            match method:
                case "tools/list":
                    return wire(await session.list_tools(params=page))
                case "prompts/list":
                    return wire(await session.list_prompts(params=page))
                case "resources/list":
                    return wire(await session.list_resources(params=page))
                case "resources/templates/list":
                    return wire(await session.list_resource_templates(params=page))
                case "tools/call":
                    return wire(await session.call_tool(**params, progress_callback=progress))
                case "prompts/get":
                    return wire(await session.get_prompt(**params))
                case "resources/read":
                    return wire(await session.read_resource(**params))

        @asynccontextmanager
        async def subscribe(uri: str, told: anyio.Event):
            watched[uri] = told
            await session.subscribe_resource(uri)
            yield

        attempts = Attempts(request, session.send_ping, subscribe)
        await attempts.run(plan["tries"], opened.protocolVersion)


anyio.run(main, plan())
