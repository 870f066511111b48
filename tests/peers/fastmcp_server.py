"""An MCP server on FastMCP, for the interop tests: both eras and every transport.

usage: fastmcp_server.py stdio | http | sse

Over HTTP and SSE it prints the URL of its endpoint as its first line, and ends when its standard input does.
"""

import sys
from dataclasses import dataclass

import anyio
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from loopback import serve
from mcp.types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

server = FastMCP("fastmcp-peer", version="1.0.0", instructions="A peer for tests")

# How often a call of `slow` was cancelled.
cancellations = 0


@dataclass
class Sum:
    total: int


@dataclass
class Name:
    name: str


@server.tool
def echo(message: str) -> str:
    """Returns the message."""
    return f"Echo: {message}"


@server.tool
def add(a: int, b: int) -> Sum:
    """Adds two numbers; the result is structured."""
    return Sum(total=a + b)


@server.tool
def fail(reason: str) -> str:
    """Fails with the given reason."""
    raise ToolError(reason)


@server.tool
async def slow(steps: int, step_ms: int, ctx: Context) -> str:
    """Takes `steps` times `step_ms` milliseconds and reports progress after each step."""
    global cancellations
    try:
        for step in range(steps):
            await anyio.sleep(step_ms / 1000)
            await ctx.report_progress(step + 1, steps)
    except anyio.get_cancelled_exc_class():
        # Wherever it was at that moment.
        cancellations += 1
        raise
    return f"{steps} steps done"


@server.tool
def cancelled() -> str:
    """How many calls of `slow` were cancelled."""
    return str(cancellations)


@server.tool
async def greet(ctx: Context) -> str:
    """Greets the user after asking for their name, as the era with a handshake has it."""
    answer = await ctx.elicit("What is your name?", Name)
    return f"Hello, {answer.data.name}" if answer.action == "accept" else f"They said: {answer.action}"


@server.tool(output_schema=None)
def greet_statelessly(ctx: Context) -> str | InputRequiredResult:
    """The same, as the stateless era has it."""
    if ctx.input_responses is None:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        params = ElicitRequestFormParams(message="What is your name?", requested_schema=schema)
        return InputRequiredResult(input_requests={"name": ElicitRequest(params=params)})
    return f"Hello, {ctx.input_responses['name'].content['name']}"


@server.resource("peer://greeting", mime_type="text/plain")
def greeting() -> str:
    """A fixed text."""
    return "Hello from the FastMCP peer"


@server.resource("peer://square/{number}")
def square(number: int) -> str:
    """The square of a number."""
    return str(number * number)


@server.prompt
def review(topic: str) -> str:
    """Asks for a review."""
    return f"Please review {topic}."


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stdio"]:
            server.run("stdio", show_banner=False, log_level="WARNING")
        case ["http"]:
            anyio.run(serve, server.http_app("/mcp"), "/mcp")
        case ["sse"]:
            anyio.run(serve, server.http_app("/sse", transport="sse"), "/sse")
        case _:
            sys.exit(__doc__)
