"""What stands between two that talk (the collector and its hub, say), and can be told to misbehave."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a lying hub sends at most; the collector shall have hung up long before.
HUGE_BYTES = 1024**3


class Between:
    """Passes answers of what listens on a port on, until told otherwise."""

    def __init__(self, hub_port: int):
        self.mode = "pass"
        self.huge_sent_bytes = 0
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                with contextlib.suppress(ConnectionError):  # who asked went meanwhile
                    getattr(outer, f"_{outer.mode}")(self, hub_port)

            do_DELETE = do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.mode = "down"
        self._server.shutdown()

    def _pass(self, handler, hub_port: int, change=lambda path, body: body) -> None:
        names = ["Authorization", "Accept", "Content-Type"]
        headers = {name: handler.headers[name] for name in names if handler.headers[name]}
        url = f"http://127.0.0.1:{hub_port}{handler.path}"
        sent = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)) or None
        request = urllib.request.Request(url, data=sent, headers=headers, method=handler.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, body = answer.status, change(handler.path, answer.read())
        except urllib.error.HTTPError as refusal:
            status, body = refusal.code, refusal.read()
        except OSError:
            handler.close_connection = True
            return
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        if status != 204:  # which has no body, and may not say how long it is
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _down(self, handler, _) -> None:
        handler.close_connection = True

    def _hang(self, handler, _) -> None:
        while self.mode == "hang":
            time.sleep(0.1)
        handler.close_connection = True

    def _error(self, handler, _) -> None:
        handler.send_error(500)

    def _garbage(self, handler, _) -> None:
        body = b'{"name": "ann", "kind": "user", "scopes": [' + b"[" * 100_000
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _huge(self, handler, _) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(HUGE_BYTES))
        handler.end_headers()
        self.huge_sent_bytes = 0
        chunk = b'{"name": "ann", "scopes": ["' + b"x" * 65_536
        try:
            while self.huge_sent_bytes < HUGE_BYTES:
                handler.wfile.write(chunk)
                self.huge_sent_bytes += len(chunk)
        except OSError:
            handler.close_connection = True

    def _flip(self, handler, hub_port: int) -> None:
        """The right scopes under another name, as a hub with mixed-up rows would say."""

        def change(path: str, body: bytes) -> bytes:
            if path.split("?")[0] != "/hub/api/user":
                return body
            return json.dumps({**json.loads(body), "name": "ann"}).encode()

        self._pass(handler, hub_port, change)
