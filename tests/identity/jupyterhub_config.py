"""A real hub for the identity matrix: real tokens and scopes, servers that do nothing."""

import json
import os
import sys
from pathlib import Path

bed = json.loads(Path(os.environ["IDENTITY_BED"]).read_text())
here, work = Path(bed["here"]), Path(bed["dir"])
sys.path.insert(0, str(here.parent.parent / "deploy/hub"))

import hubmeter_hub  # noqa: E402 (its folder is known only now)

c = get_config()  # noqa: F821 (traitlets gives it)

c.JupyterHub.bind_url = f"http://127.0.0.1:{bed['ports']['public']}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{bed['ports']['hub']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{bed['ports']['proxy']}"
c.ConfigurableHTTPProxy.command = [bed["proxy"]]
c.ConfigurableHTTPProxy.auth_token = bed["secrets"]["proxy"]
c.ConfigurableHTTPProxy.pid_file = str(work / "proxy.pid")
# A hub that restarts finds its proxy and its servers as they were.
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.cleanup_servers = False
c.JupyterHub.db_url = f"sqlite:///{work / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(work / "cookie_secret")
# Activity at the proxy becomes activity at the hub within a second.
c.JupyterHub.last_activity_interval = 1

c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = bed["secrets"]["password"]
c.Authenticator.allowed_users = set(bed["users"])
c.Authenticator.admin_users = {"admin"}

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(work / "home" / "{username}")
c.JupyterHub.allow_named_servers = True
c.Spawner.cmd = [sys.executable, str(here / "server.py")]
c.Spawner.environment = {"IDENTITY_TOKENS": str(work / "tokens"), "IDENTITY_PID": str(bed["pid"])}


def server_token_scopes(spawner):
    """What an admin may set: for one user less than what tells a server from its user."""
    own = ["users:activity!user", "access:servers!server"]
    return own[:1] if spawner.user.name == "nora" else own


c.Spawner.server_token_scopes = server_token_scopes


def program_is_gone(spawner):
    """The hub's own hook, which goes on behind ours: there is nothing that could be started."""
    if Path(bed["broken"]).exists():
        spawner.cmd = [str(work / "no-such-program")]


c.Spawner.pre_spawn_hook = program_is_gone
hubmeter_hub.tell_starts(c, bed["hook"], bed["secrets"]["service"])

c.JupyterHub.custom_scopes = {
    "custom:hubmeter:read:all": {"description": "See every user's rows in hubmeter"},
}
c.JupyterHub.services = [
    {
        "name": "hubmeter",
        "url": f"http://127.0.0.1:{bed['ports']['service']}",
        "api_token": bed["secrets"]["service"],
        "oauth_no_confirm": True,
    },
    {"name": "script", "api_token": bed["secrets"]["script"]},
    {"name": "tests", "api_token": bed["secrets"]["tests"]},
    {"name": "prometheus", "api_token": bed["secrets"]["prometheus"]},
]
c.JupyterHub.load_roles = [
    {
        "name": "hubmeter",
        "services": ["hubmeter"],
        # The last is for the hub's counters of starts.
        "scopes": ["list:users", "read:users", "read:servers", "read:metrics"],
    },
    {"name": "user", "scopes": ["self", "access:services!service=hubmeter"]},
    # Tom helps Ann: he may open her server, as a visitor.
    {"name": "helper", "users": ["tom"], "scopes": ["access:servers!server=ann/"]},
    {
        "name": "script",
        "services": ["script"],
        "scopes": ["custom:hubmeter:read:all", "access:services!service=hubmeter"],
    },
    {
        "name": "tests",
        "services": ["tests"],
        "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens", "access:servers", "proxy"],
    },
    {"name": "prometheus", "services": ["prometheus"], "scopes": ["read:metrics"]},
]
