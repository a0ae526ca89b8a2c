"""Whether somebody may be looking at a tab.

A tab says nothing when it is hidden: that would be a request, and requests are activity. But JupyterLab asks
for kernels and sessions every ten seconds while it can be seen, and not while it is hidden, and the server
notes the time of such a request anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

WATCHED_S = 60.0  # six of JupyterLab's own questions


class Watch:
    """Looks at the server's note of its last request. May be asked in any thread; never wakes the loop."""

    def __init__(self, settings: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._last: Any = None
        self._changed_s = clock()

    def __call__(self) -> bool:
        """Whether a request came lately. Only that the note changed counts, not what time it says."""
        last = self._settings.get("api_last_activity")
        if last != self._last:
            self._last, self._changed_s = last, self._clock()
        return self._clock() - self._changed_s < WATCHED_S
