"""Who is told: a real mail relay, and a web service that takes what chat and alerting take."""

from __future__ import annotations

import json
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from smtp_sink import Keep
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler


class Mail:
    """Keeps every mail in a folder: whole as .eml, its HTML beside it for a browser."""

    def __init__(self, folder: Path, port: int):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._seen: set[str] = set()
        self._controller = Controller(Keep(folder), hostname="127.0.0.1", port=port)
        self._controller.start()

    def new(self) -> list[tuple[str, EmailMessage]]:
        """What came since the last look, by its file."""
        found = []
        for file in sorted(self.folder.glob("*.eml")):
            if file.name in self._seen:
                continue
            self._seen.add(file.name)
            mail = BytesParser(policy=policy.default).parsebytes(file.read_bytes())
            if html := mail.get_body(("html",)):
                file.with_suffix(".html").write_text(_with_pictures(mail, html.get_content()))
            found.append((file.name, mail))
        return found

    def close(self) -> None:
        self._controller.stop()


def _with_pictures(mail: EmailMessage, html: str) -> str:
    """Pictures that are in the mail itself, where a browser finds them."""
    for part in mail.walk():
        if part.get_content_maintype() == "image" and (name := part.get("Content-ID")):
            data = "".join(str(part.get_payload()).split())
            html = html.replace(f"cid:{name.strip('<>')}", f"data:image/png;base64,{data}")
    return html


class Web:
    """Hands on what is posted: to which of the addresses, and the JSON."""

    def __init__(self, port: int, take: Callable[[str, Any], None]):
        class Post(RequestHandler):
            def post(self, where: str) -> None:
                name = "alertmanager" if where.startswith("api/") else where
                take(name, json.loads(self.request.body))

        self._server: HTTPServer = Application([(r"/(.*)", Post)]).listen(port, "127.0.0.1")

    def close(self) -> None:
        self._server.stop()
