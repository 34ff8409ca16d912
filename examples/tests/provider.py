"""An identity provider's introspection endpoint, as the tests want it to be."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable
from urllib.parse import parse_qs

Answer = Callable[[BaseHTTPRequestHandler, "dict[str, str]"], None]


class Provider:
    """A real HTTP server on a loopback port that counts its requests."""

    def __init__(self) -> None:
        """Start it; ``answer`` has to be set before the first request."""
        self.answer: Answer
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
                provider.forms.append(form)
                provider.headers.append({name.title(): value for name, value in self.headers.items()})
                provider.answer(self, form)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # some tests hang up on it

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/introspect"

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.forms)

    def stop(self) -> None:
        """End it, if it has not ended; what connects later is refused."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    content_type: str = "application/json",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> None:
    """Send one answer."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
