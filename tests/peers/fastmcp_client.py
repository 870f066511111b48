"""The client of FastMCP, which probes for the newest era it knows.

usage: fastmcp_client.py PLAN
"""

import anyio
from clients import ROOT, SAMPLED, Attempts, elicited, plan, wire
from fastmcp import Client
from fastmcp.client import SSETransport, StdioTransport, StreamableHttpTransport


def transport(plan: dict):
    match plan["transport"]:
        case "http":
            return StreamableHttpTransport(plan["url"])
        case "sse":
            return SSETransport(plan["url"])
        case "stdio":
            command, *args = plan["command"]
            return StdioTransport(command, args, keep_alive=False)


async def elicit(message, response_type, params, context):
    return elicited(params.requested_schema)


async def sample(messages, params, context):
    return SAMPLED


async def main(plan: dict) -> None:
    async with Client(
        transport(plan),
        mode="legacy" if plan["era"] == "handshake" else "auto",
        elicitation_handler=elicit,
        sampling_handler=sample,
        roots=[ROOT],
    ) as client:
        revision = client.session.protocol_version

        async def request(method: str, params: dict, progress=None) -> dict:
            match method:
                case "tools/list":
                    return wire(await client.list_tools_mcp(**params))
                case "prompts/list":
                    return wire(await client.list_prompts_mcp(**params))
                case "resources/list":
                    return wire(await client.list_resources_mcp(**params))
                case "resources/templates/list":
                    return wire(await client.list_resource_templates_mcp(**params))
                case "tools/call":
                    return wire(await client.call_tool_mcp(**params, progress_handler=progress))
                case "prompts/get":
                    return wire(await client.get_prompt_mcp(**params))
                case "resources/read":
                    return wire(await client.read_resource_mcp(**params))

        # It has no subscriptions of its own.
        await Attempts(request, client.list_tools).run(plan["tries"], revision)


anyio.run(main, plan())
