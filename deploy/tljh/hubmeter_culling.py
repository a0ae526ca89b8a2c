"""The Littlest JupyterHub: our command in place of its culler, which is a 1.x and knows no hook.

Copy to /opt/tljh/config/jupyterhub_config.d/, then

    sudo tljh-config set services.cull.enabled False
    sudo tljh-config reload
"""

c = get_config()  # noqa: F821 (traitlets gives it)

c.JupyterHub.services.append(
    {
        "name": "hubmeter-cull",
        # See first what it would do: add "--dry-run", and read `journalctl -u jupyterhub`.
        "command": ["/usr/local/bin/hubmeter-collector", "cull", "--cull-every=60", "--concurrency=5"],
    }
)
c.JupyterHub.load_roles.append(
    {
        "name": "hubmeter-cull",
        "services": ["hubmeter-cull"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
)
