"""An MCP server on the official Python SDK, for the interop tests: both eras, stdio and Streamable HTTP.

usage: modern_server.py stdio | http

Over HTTP it listens on a free loopback port, prints the URL of its endpoint as its first line, and ends
when its standard input does, so that it never outlives the test that started it.
"""

import os
import socket
import sys
import threading
from typing import Annotated

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

server = MCPServer("python-peer", version="1.0.0", instructions="A peer for tests", log_level="WARNING")


class Sum(BaseModel):
    total: int


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


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
    for step in range(steps):
        await anyio.sleep(step_ms / 1000)
        await ctx.report_progress(step + 1, steps)
    return f"{steps} steps done"


@server.tool()
def greet(name: Annotated[Name, Resolve(ask_name)]) -> str:
    """Greets the user after asking for their name."""
    return f"Hello, {name.name}"


@server.resource("peer://greeting", mime_type="text/plain")
def greeting() -> str:
    """A fixed text."""
    return "Hello from the Python peer"


@server.resource("peer://square/{number}")
def square(number: int) -> str:
    """The square of a number."""
    return str(number * number)


@server.prompt()
def review(topic: str) -> str:
    """Asks for a review."""
    return f"Please review {topic}."


def end_with_stdin() -> None:
    while sys.stdin.buffer.read(65536):
        pass
    os._exit(0)


async def serve_http() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stdio"]:
            server.run("stdio")
        case ["http"]:
            anyio.run(serve_http)
        case _:
            sys.exit(__doc__)
