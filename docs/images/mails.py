"""Takes mail.png, mail-dark.png and mail-narrow.png: what a mail program shows of a notice to a user.

    cargo build -p hubmeter-collector
    python docs/images/mails.py target/debug/hubmeter-collector docs/images      # needs Chromium

With a third argument, a mail as `cargo xtask up --demo-day` leaves them (target/demo-day/mail/….html),
also mail-warning.png of that one. Templates and words are today's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Blink's numbers for what a mail program tells of its colours.
DARK, LIGHT = 0, 1

# A reading pane, and a telephone.
PANE, NARROW = (660, 860), (390, 900)

PREVIEW = ["notice", "--preview", "runaway_memory", "--to", "user", "--format", "html", "--config"]

# So that it has its links.
SETTINGS = """standalone = true
[notice]
public_url = "https://hub.example.org/services/hubmeter/"
runbook.default = "https://wiki.example.org/hubmeter/{rule}"
"""


def shoot(chromium: str, page: Path, to: Path, scheme: int, size: tuple[int, int]) -> None:
    """Renders in a frame of that size: a window may be no smaller than the browser likes."""
    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder, "frame.html")
        style = "border:0;display:block;color-scheme:light dark"
        frame.write_text(
            '<!DOCTYPE html><meta name="color-scheme" content="light dark"><body style="margin:0">'
            f'<iframe src="file://{page.resolve()}" width="{width}" height="{height}" style="{style}"></iframe>'
        )
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},{height}"]
        command += [f"--user-data-dir={folder}/profile", f"--screenshot={to.resolve()}", f"file://{frame}"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def main(collector: str, target: Path, warning: str | None = None) -> None:
    """All pictures of one mail, and one of a warning."""
    found = os.environ.get("HUBMETER_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        sys.exit("no Chromium: install it, or name one in HUBMETER_CHROMIUM")
    with tempfile.TemporaryDirectory() as folder:
        page, settings = Path(folder, "mail.html"), Path(folder, "collector.toml")
        settings.write_text(SETTINGS)
        command = [collector, *PREVIEW, str(settings)]
        page.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        shoot(found, page, target / "mail.png", LIGHT, PANE)
        shoot(found, page, target / "mail-dark.png", DARK, PANE)
        shoot(found, page, target / "mail-narrow.png", LIGHT, NARROW)
    if warning is not None:
        shoot(found, Path(warning), target / "mail-warning.png", LIGHT, (660, 210))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
