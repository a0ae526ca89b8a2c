"""The demo hub on a day on which everything happens: more users, groups, and starts that fail."""

import json
import os
import secrets
import sys
from pathlib import Path

demo = json.loads(Path(os.environ["HUBMETER_DEMO"]).read_text())

# A relative one that it does not find is passed over in silence.
load_subconfig(str(Path(demo["deploy"]) / "jupyterhub_config.py"))  # noqa: F821 (traitlets gives it)
c = get_config()  # noqa: F821

more = demo["more"]
sys.path.insert(0, more["hook"])

import hubmeter_hub  # noqa: E402 (its folder is known only now)

c.JupyterHub.load_groups = {
    name: {"users": users} for name, users in more["cast"]["groups"].items()
}


def program_is_gone(spawner):
    """As when an image was removed: nothing that could be started is there."""
    if spawner.user.name == "finn" and Path(more["broken"]).exists():
        spawner.cmd = ["/no/such/jupyterhub-singleuser"]


# The hub's own hook, in front of which ours goes.
c.Spawner.pre_spawn_hook = program_is_gone
token = secrets.token_hex(32)
c.JupyterHub.services[0]["api_token"] = token
hubmeter_hub.tell_starts(c, f"http://127.0.0.1:{demo['ports']['service']}/services/hubmeter/", token)

# What the day's script does beside reading: stops who is idle, writes to users, answers notices.
c.JupyterHub.load_roles.append(
    {
        "name": "day",
        "services": ["culling-script"],
        "scopes": ["custom:hubmeter:write:all", "read:users:activity"],
    }
)
