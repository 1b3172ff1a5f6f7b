"""Start the portal: `python -m demo --host 127.0.0.1 --port 8502`."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from demo.app import build_app

DEFAULT_PORT = "8502"
SHUTDOWN_GRACE_SECONDS = 5


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse_options(argv)
    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        where = f"{options.host} port {options.port}"
        print(f"The demo portal cannot listen on {where}: {_explain(error)}.", file=sys.stderr)
        return 1
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"The demo portal is at http://{host}:{listener.getsockname()[1]}", flush=True)
    _serve(listener, options)
    return 0


def _parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="A fictional billing portal to try Punctual against."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=_parse_port,
        default=os.environ.get("PUNCTUAL_DEMO_PORT") or DEFAULT_PORT,
        help=f"port to listen on, 0 for any free one (default: PUNCTUAL_DEMO_PORT, else {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--latency-ms",
        type=_parse_latency,
        default=0,
        metavar="N",
        help="delay every answer by N milliseconds",
    )
    parser.add_argument(
        "--inspect", action="store_true", help="add /_demo/requests, /_demo/bills and /_demo/reset, for tests"
    )
    return parser.parse_args(argv)


def _parse_port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f'"{text}" is not a port: expected a number from 0 to 65535')
    return int(text)


def _parse_latency(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not a delay: expected whole milliseconds')
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=2048)


def _explain(error: OSError) -> str:
    # create_server repeats the address in its message; errno alone reads better.
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno).lower()


def _serve(listener: socket.socket, options: argparse.Namespace) -> None:
    app = build_app(inspect=options.inspect, latency_ms=options.latency_ms)
    # No access log: a client that sends its form by GET would put a password there.
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS
    )
    server = uvicorn.Server(config)

    # uvicorn raises the signal again once it has stopped; with this handler that is harmless, so the
    # process ends with 0 and no traceback, and a signal before uvicorn is up is not lost.
    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
