"""hubmeter: a memory meter for JupyterLab that is true and warns in time.

A Jupyter Server extension that starts the agent beside the server, passes its samples and notices to
the browser over the event socket that JupyterLab already holds, and answers `api/metrics/v1`.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "hubmeter"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .extension import Hubmeter

    return [{"module": "hubmeter", "app": Hubmeter}]
