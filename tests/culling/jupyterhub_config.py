"""A real hub with real servers, whose users belong to one culler each."""

import json
import os
import sys
from pathlib import Path

# A relative one that it does not find is passed over in silence.
load_subconfig(str(Path(__file__).parent.parent / "identity/jupyterhub_config.py"))  # noqa: F821 (traitlets gives it)
c = get_config()  # noqa: F821

bed = json.loads(Path(os.environ["IDENTITY_BED"]).read_text())
stage = bed["stage"]
work = Path(bed["dir"])

c.Spawner.cmd = [str(Path(sys.executable).with_name("jupyterhub-singleuser"))]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.start_timeout = c.Spawner.http_timeout = 180
# This hub's servers go with it.
c.JupyterHub.cleanup_servers = True
c.JupyterHub.load_groups = stage["groups"]


def runtime_of(spawner):
    """Sockets need a short path."""
    path = Path(stage["runtimes"], f"{spawner.user.id}-{spawner.name}")
    path.mkdir(mode=0o700, exist_ok=True)
    return str(path)


def settings_of(spawner):
    """Servers without an agent are those of whom the hub alone knows something."""
    return "" if spawner.user.name.startswith("bare") else stage["settings"]


c.Spawner.environment = {
    **stage["environment"],
    "IDENTITY_PID": str(bed["pid"]),
    "XDG_RUNTIME_DIR": runtime_of,
    "JUPYTER_RUNTIME_DIR": runtime_of,
    "JUPYTER_CONFIG_PATH": settings_of,
    # The server tells the hub of its activity every five minutes; here time runs faster.
    "JUPYTERHUB_ACTIVITY_INTERVAL": "5",
}

for culler in stage["groups"]:
    own = [f"list:users!group={culler}", f"read:users:activity!group={culler}"]
    own += [f"read:servers!group={culler}", f"delete:servers!group={culler}"]
    asks = ["custom:hubmeter:read:all", "access:services!service=hubmeter"]
    c.JupyterHub.services.append({"name": f"cull-{culler}", "api_token": bed["secrets"][culler]})
    scopes = own if culler == "alone" else own + asks
    c.JupyterHub.load_roles.append(
        {"name": f"cull-{culler}", "services": [f"cull-{culler}"], "scopes": scopes}
    )
