"""The real hub with real servers, and the cullers: the idle culler alone, with our hook, and our command."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.controller import Controller
from bed import Bed, Failed, free_ports
from between import Between

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

#: Each has users, and a token that shows it these alone.
CULLERS = ("alone", "hook", "command")

#: A busy machine starts twenty servers at once.
START_S_MAX = 180

#: Who has an address, by the first part of the name; of the second nobody takes mail.
MAILED, REFUSED = "mailed", "refused"

#: A kernel that nobody has used for so long, and that holds much, is to go.
HOG_S = 20

sys.path.insert(0, str(ROOT / "tests/e2e"))

from smtp_sink import Keep  # noqa: E402 (its folder is known only now)

HOOK = "from hubmeter_collector.culler import arbiter\n\nc.IdleCuller.cull_arbiter_hook = arbiter\n"


class Relay(Keep):
    """A real mail server that does not know everybody."""

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith(REFUSED):
            return "550 nobody here is called so"
        envelope.rcpt_tos.append(address)
        return "250 known"


class Stage(Bed):
    """Everything that runs."""

    config = HERE / "jupyterhub_config.py"
    more_secrets = CULLERS

    def __init__(
        self,
        work: Path,
        venv: Path,
        proxy: Path,
        programs: dict[str, str],
        names: list[str],
        timeout_s: int,
        warn_s: tuple[int, ...],
    ):
        self.users = [f"{name}-{culler}" for name in names for culler in CULLERS]
        self.timeout_s = timeout_s
        self.collector_flags = ("--config", str(work / "collector.toml"))
        self.runtimes = tempfile.mkdtemp(prefix="hubmeter-")
        super().__init__(work, venv, proxy, programs)
        # What stands between the cullers and the hub, and can be told to misbehave.
        self.door = Between(self.ports["hub"])
        settings = work / "settings/jupyter_server_config.d"
        shutil.copytree(ROOT / "labextension/jupyter-config/jupyter_server_config.d", settings)
        warn = ", ".join(f'"{seconds}s"' for seconds in warn_s)
        (work / "collector.toml").write_text(
            f'[cull]\nmode = "act"\ntimeout = "{timeout_s}s"\nwarn = [{warn}]\nidle_kernels = "shut_down"\n'
            f'[policy]\nidle_hog_after = "{HOG_S}s"\nidle_hog_bytes = "200MB"\n' + self._relay(work)
        )
        bed = json.loads((work / "bed.json").read_text())
        bed["stage"] = {
            "groups": {
                culler: {"users": [user for user in self.users if user.endswith(f"-{culler}")]}
                for culler in CULLERS
            },
            "runtimes": self.runtimes,
            "settings": str(settings.parent),
            "environment": {
                "HUBMETER_AGENT": programs["agent"],
                "HUBMETER_COLLECTOR": self.by_grpc,
                "HUBMETER_INTERVAL": "1",
                "HUBMETER_API_URL": f"http://127.0.0.1:{self.ports['service']}/services/hubmeter/",
                "PYTHONPATH": str(ROOT / "labextension"),
                "PYTHONNOUSERSITE": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        }
        (work / "bed.json").write_text(json.dumps(bed))

    def _relay(self, work: Path) -> str:
        """Starts a mail server where somebody has an address; the settings to mail by it."""
        self._mails = work / "mail"
        self._smtp: Controller | None = None
        mailed = [user for user in self.users if user.split("-")[0] in (MAILED, REFUSED)]
        if not mailed:
            return ""
        self._mails.mkdir()
        self._smtp = Controller(Relay(self._mails), hostname="127.0.0.1", port=free_ports(1)[0])
        self._smtp.start()
        addresses = work / "addresses"
        addresses.write_text("".join(f"{user},{user}@example.org\n" for user in mailed))
        return (
            f'\n[notice.mail]\nhost = "127.0.0.1"\nport = {self._smtp.port}\ntls = "none"\n'
            f'from = "hubmeter@example.org"\n\n[notice.user_mail]\naddress_file = "{addresses}"\n'
        )

    def mails_to(self, user: str) -> list[str]:
        """The subjects of what came for somebody, in order."""
        mails = [message_from_bytes(file.read_bytes()) for file in sorted(self._mails.glob("*.eml"))]
        return [mail["Subject"] for mail in mails if mail["To"] == f"{user}@example.org"]

    def notices(self, user: str) -> list[dict]:
        """What the collector says became of mail to somebody."""
        path = f"/api/v1/notices?user={user}&limit=5000"
        return self.get(path, self.secrets["script"]).json()["items"]

    def start_cullers(self, every_s: int) -> None:
        flags = [f"--url=http://127.0.0.1:{self.door.port}/hub/api", f"--timeout={self.timeout_s}"]
        flags += [f"--cull-every={every_s}"]
        idle_culler = [str(self.venv / "bin/python"), "-m", "jupyterhub_idle_culler", *flags]
        hook = self.dir / "idle_culler_config.py"
        hook.write_text(HOOK)
        self._culler("alone", [*idle_culler, "--config=none.py"])
        self._culler("hook", [*idle_culler, f"--config={hook}"])
        self._culler("command", [self.programs["collector"], "cull", *flags])

    def _culler(self, name: str, command: list[str]) -> None:
        environment = {
            "JUPYTERHUB_API_TOKEN": self.secrets[name],
            "JUPYTERHUB_REQUEST_TIMEOUT": "3",
            "HUBMETER_API_URL": f"http://127.0.0.1:{self.ports['service']}/services/hubmeter",
            "PYTHONPATH": str(ROOT / "collector/python"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._start(name, command, environment)

    def start_server(self, user: str, name: str = "") -> None:
        path = f"/users/{user}/servers/{name}" if name else f"/users/{user}/server"
        self.hub("POST", path)
        deadline = time.monotonic() + START_S_MAX
        while not self.hub("GET", f"/users/{user}")["servers"].get(name, {}).get("ready"):
            if time.monotonic() > deadline:
                raise Failed(f"{user}'s server {name!r} did not start in {START_S_MAX} s")
            time.sleep(1)  # a hub that starts twenty has enough to do

    def running(self) -> set[tuple[str, str]]:
        """By user and server, as the hub itself says."""
        users = self.hub("GET", "/users?state=active&limit=200")
        return {
            (user["name"], name)
            for user in users
            for name, server in user["servers"].items()
            if server["ready"] and not server["pending"]
        }

    def rows_of_cull(self) -> dict[str, dict]:
        """What the collector says of each default server, by user."""
        rows = self.get("/api/v1/cull?limit=5000", self.secrets["script"]).json()["items"]
        return {row["user"]: row for row in rows if not row["server"]}

    def ended(self) -> list[str]:
        """Which of all that should run does not."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def close(self) -> None:
        self.door.close()
        super().close()
        if self._smtp is not None:
            self._smtp.stop()
        shutil.rmtree(self.runtimes, ignore_errors=True)
