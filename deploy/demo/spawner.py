"""The demo's spawner: every server a local process, in a folder and a memory cgroup of its own.

For one person's loopback only: all servers run as the user who started the demo.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import cgroup
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Int, Unicode, default

# How long a stopped server's group may take to become empty.
EMPTY_SECONDS = 3.0


class DemoSpawner(SimpleLocalProcessSpawner):
    """A local process with an enforced memory limit where the machine allows it."""

    cgroup_parent = Unicode("", config=True, help="Where servers' groups are made; empty: nowhere.")
    cgroup_limit_bytes = Int(0, config=True, help="What each server may use.")
    homes = Unicode("", config=True, help="Homes of the demo's users; nothing else is written.")
    runtimes = Unicode("", config=True, help="Runtime folders, each with a short path: sockets.")
    settings = Unicode("", config=True, help="Jupyter settings of every demo server.")
    examples = Unicode("", config=True, help="Notebooks that every new home starts with.")

    group: Path | None = None

    @default("home_dir")
    def _home_of_the_demo(self):
        return str(Path(self.homes) / self._folder)

    @property
    def _folder(self) -> str:
        return self.user.escaped_name

    @property
    def _runtime(self) -> Path:
        return Path(self.runtimes) / f"{self._folder}-{self.name or 'default'}"

    def user_env(self, env):
        env = super().user_env(env)
        env["HOME"] = self.home_dir
        env["XDG_RUNTIME_DIR"] = str(self._runtime)
        env["JUPYTER_RUNTIME_DIR"] = str(self._runtime / "jupyter")
        env["PYTHONNOUSERSITE"] = "1"
        # The demo asks nothing of the internet, news about Jupyter included.
        paths = [env.get("JUPYTER_CONFIG_PATH"), self.settings]
        env["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path for path in paths if path)
        return env

    def make_preexec_fn(self, name):
        home, group = self.home_dir, self.group

        def preexec():
            os.chdir(home)
            if group is not None:
                cgroup.enter(group)

        return preexec

    async def start(self):
        self._make_folders()
        self.group = self._make_group()
        return await super().start()

    async def stop(self, now=False):
        await super().stop(now=now)
        await self._remove_group()
        shutil.rmtree(self._runtime, ignore_errors=True)

    async def poll(self):
        status = await super().poll()
        if status is not None:
            await self._remove_group()
        return status

    def _make_folders(self):
        home = Path(self.home_dir)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        for example in Path(self.examples).glob("*.ipynb"):
            if not (home / example.name).exists():
                shutil.copy(example, home / example.name)

    def _make_group(self) -> Path | None:
        if not self.cgroup_parent:
            return None
        name = f"{self.user.escaped_name}--{self.name or 'default'}"
        try:
            return cgroup.child(Path(self.cgroup_parent), name, self.cgroup_limit_bytes)
        except OSError as error:
            self.log.warning("no memory cgroup for %s: %s", name, error)
            return None

    async def _remove_group(self):
        """Ends what outlived the server, its kernels' children for instance, and the group."""
        group, self.group = self.group, None
        if group is None:
            return
        for _ in range(int(EMPTY_SECONDS / 0.05)):
            if cgroup.remove_empty(group):
                return
            cgroup.kill(group)
            await asyncio.sleep(0.05)
        self.log.warning("cannot remove %s", group)
