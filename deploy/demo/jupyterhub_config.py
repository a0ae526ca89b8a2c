"""The demo hub: loopback only, three users, the collector as a service that the hub runs.

All that differs from one start to the next (ports, folders, secrets) is in the JSON file named by
HUBMETER_DEMO, which `cargo xtask up` writes. The rest is what any hub needs to run hubmeter.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

demo = json.loads(Path(os.environ["HUBMETER_DEMO"]).read_text())
sys.path.insert(0, demo["deploy"])

from spawner import DemoSpawner  # noqa: E402 (its folder is known only now)

c = get_config()  # noqa: F821 (traitlets gives it)

# If the program that started us is killed outright, we end as if asked to, servers included.
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

# --- where it listens and what it writes ---
state = Path(demo["state"])
c.JupyterHub.bind_url = f"http://127.0.0.1:{demo['ports']['public']}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{demo['ports']['hub']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{demo['ports']['proxy']}"
c.ConfigurableHTTPProxy.command = demo["proxy"]
c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")
c.ConfigurableHTTPProxy.debug = demo["proxy_debug"]
c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
c.JupyterHub.cleanup_servers = True
c.JupyterHub.log_level = "INFO"

# --- who may come in ---
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = demo["password"]
c.Authenticator.allowed_users = set(demo["users"])
c.Authenticator.admin_users = {"admin"}

# --- their servers ---
c.JupyterHub.spawner_class = DemoSpawner
c.JupyterHub.allow_named_servers = True
c.Spawner.cmd = [demo["singleuser"]]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.default_url = "/lab"
c.Spawner.mem_limit = demo["memory_limit_bytes"]
# A server that starts while everything else is built takes longer than the usual 30 s.
c.Spawner.http_timeout = 180
c.Spawner.start_timeout = 180


def collector_of(spawner):
    """Every way to the collector is in use here. One is enough for a hub."""
    ports = demo["ports"]
    match spawner.user.name:
        case "alice":  # TLS by the collector's own key: for servers on other machines
            pin = Path(demo["link_pin"]).read_text().strip()
            return f"grpcs://127.0.0.1:{ports['link']}#{pin}"
        case "bob":  # through the hub's own proxy: where nothing else can be reached
            return f"ws://127.0.0.1:{ports['public']}/services/hubmeter/link"
        case _:  # in the clear, on the same machine only; through the proxy where that fails
            proxied = f"ws://127.0.0.1:{ports['public']}/services/hubmeter/link"
            return f"grpc://127.0.0.1:{ports['link']} {proxied}"


c.Spawner.environment = {**demo["server_environment"], "HUBMETER_COLLECTOR": collector_of}
c.DemoSpawner.cgroup_parent = demo["cgroup"] or ""
c.DemoSpawner.cgroup_limit_bytes = demo["memory_limit_bytes"]
c.DemoSpawner.homes = demo["homes"]
c.DemoSpawner.runtimes = demo["runtimes"]
c.DemoSpawner.settings = str(Path(demo["deploy"]) / "jupyter")
c.DemoSpawner.examples = str(Path(demo["deploy"]) / "notebooks")

# --- hubmeter's collector ---
c.JupyterHub.custom_scopes = {
    "custom:hubmeter:read:all": {"description": "See every user's rows in hubmeter"},
    "custom:hubmeter:write:all": {"description": "Hold servers, answer notices and write to users in hubmeter"},
}
c.JupyterHub.services = [
    {
        "name": "hubmeter",
        "url": f"http://127.0.0.1:{demo['ports']['service']}",
        "command": demo["collector"],
        "environment": demo["collector_environment"],
        "oauth_no_confirm": True,
        # An admin's login carries this on to hubmeter; everybody else's carries nothing.
        "oauth_client_allowed_scopes": ["custom:hubmeter:read:all"],
    },
    {"name": "culling-script", "api_token": demo["script_token"]},
]
c.JupyterHub.load_roles = [
    {
        "name": "hubmeter",
        "services": ["hubmeter"],
        "scopes": ["list:users", "read:users", "read:servers"],
    },
    {"name": "user", "scopes": ["self", "access:services!service=hubmeter"]},
    {"name": "hubmeter-admin", "users": ["admin"], "scopes": ["custom:hubmeter:read:all"]},
    {
        "name": "culling-script",
        "services": ["culling-script"],
        "scopes": [
            "custom:hubmeter:read:all",
            "access:services!service=hubmeter",
            "list:users",
            "read:servers",
            "delete:servers",
        ],
    },
]

# --- tests only: a token that may act for the users ---
if demo["test_token"]:
    c.JupyterHub.services.append({"name": "tests", "api_token": demo["test_token"]})
    c.JupyterHub.load_roles.append(
        {
            "name": "tests",
            "services": ["tests"],
            "scopes": ["admin:users", "admin:servers", "admin:server_state", "tokens", "access:servers", "proxy"],
        }
    )
