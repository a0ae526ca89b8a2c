"""A real SMTP server that keeps every message as a file.

    python smtp_sink.py PORT FOLDER
"""

import itertools
import signal
import sys
from pathlib import Path

from aiosmtpd.controller import Controller


class Keep:
    """Writes what comes, whole, under a number."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.numbers = itertools.count(1)

    async def handle_DATA(self, server, session, envelope):
        name = f"{next(self.numbers):03}.eml"
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        # First under another name: who looks into the folder never sees half a message.
        part = self.folder / f"{name}.part"
        part.write_bytes(head.encode() + envelope.original_content)
        part.rename(self.folder / name)
        return "250 kept"


def main(port: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    controller = Controller(Keep(folder), hostname="127.0.0.1", port=port)
    controller.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(int(sys.argv[1]), Path(sys.argv[2]))
