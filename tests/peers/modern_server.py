"""An MCP server on the official Python SDK, for the interop tests: both eras and every transport.

usage: modern_server.py stdio | http | sse

Over HTTP and SSE it prints the URL of its endpoint as its first line, and ends when its standard input does.
"""

import sys
from typing import Annotated

import anyio
from loopback import serve
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("python-peer", version="1.0.0", instructions="A peer for tests", log_level="WARNING")

# How often a call of `slow` was cancelled, and `count` called.
cancellations = 0
counter = 0


class Sum(BaseModel):
    total: int


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def ask_model() -> Sample:
    question = TextContent(type="text", text="What is the answer?")
    return Sample([SamplingMessage(role="user", content=question)], max_tokens=10)


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def echo(message: str) -> str:
    """Returns the message."""
    return f"Echo: {message}"


@server.tool()
def add(a: int, b: int) -> Sum:
    """Adds two numbers; the result is structured."""
    return Sum(total=a + b)


@server.tool()
def fail(reason: str) -> str:
    """Fails with the given reason."""
    raise ToolError(reason)


@server.tool()
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


@server.tool()
def cancelled() -> str:
    """How many calls of `slow` were cancelled."""
    return str(cancellations)


@server.tool()
async def count(ctx: Context) -> str:
    """Adds one to the counter."""
    global counter
    counter += 1
    await ctx.notify_resource_updated("peer://counter")
    return str(counter)


@server.tool()
def greet(name: Annotated[Name, Resolve(ask_name)]) -> str:
    """Greets the user after asking for their name."""
    return f"Hello, {name.name}"


@server.tool()
def ask(answer: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
    """Asks the model of the client."""
    return f"It said: {answer.content.text}"


@server.tool()
def roots(found: Annotated[ListRootsResult, Resolve(ask_roots)]) -> str:
    """Where the client lets servers work."""
    return "\n".join(str(root.uri) for root in found.roots)


@server.resource("peer://greeting", mime_type="text/plain")
def greeting() -> str:
    """A fixed text."""
    return "Hello from the Python peer"


@server.resource("peer://counter", mime_type="text/plain")
def counter_now() -> str:
    """What `count` counts."""
    return str(counter)


@server.resource("peer://square/{number}")
def square(number: int) -> str:
    """The square of a number."""
    return str(number * number)


@server.prompt()
def review(topic: str) -> str:
    """Asks for a review."""
    return f"Please review {topic}."


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stdio"]:
            server.run("stdio")
        case ["http"]:
            anyio.run(serve, server.streamable_http_app(), "/mcp")
        case ["sse"]:
            anyio.run(serve, server.sse_app(), "/sse")
        case _:
            sys.exit(__doc__)
