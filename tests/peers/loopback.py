"""How the Python peers serve HTTP."""

import os
import socket
import sys
import threading

import uvicorn


def end_with_stdin() -> None:
    while sys.stdin.buffer.read(65536):
        pass
    os._exit(0)


async def serve(app, path: str) -> None:
    """Serves on a free loopback port, prints the URL of the endpoint as the first line, and ends when
    standard input does, so that it never outlives the test that started it."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener])
