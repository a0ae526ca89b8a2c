"""A single-user server as far as the hub can tell: it answers, and leaves its token for the tests."""

from __future__ import annotations

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import jupyterhub


class Answer(BaseHTTPRequestHandler):
    """Yes, to everything."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", jupyterhub.__version__)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def end_with(pid: str) -> None:
    """The hub may restart under its servers; the tests may not."""
    while Path("/proc", pid).exists():
        time.sleep(1)
    os._exit(0)


def main() -> None:
    threading.Thread(target=end_with, args=[os.environ["IDENTITY_PID"]], daemon=True).start()
    user, name = os.environ["JUPYTERHUB_USER"], os.environ["JUPYTERHUB_SERVER_NAME"]
    token = Path(os.environ["IDENTITY_TOKENS"], f"{user}--{name}")
    token.write_text(os.environ["JUPYTERHUB_API_TOKEN"])
    bind = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer((bind.hostname, bind.port), Answer).serve_forever()


if __name__ == "__main__":
    main()
