"""Whether somebody may be looking at a tab.

A tab says nothing when it is hidden: that would be a request, and requests are activity. But JupyterLab asks
for kernels, sessions and terminals every ten seconds while it can be seen, and for kernelspecs
and little more once a minute while it is hidden; and the server notes the time of its last request anyway.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

WATCHED_S = 30.0  # three of JupyterLab's own questions
LOOKS = 6  # where samples come seldom, so many of them
CHANGES_MIN = 2  # one is what a hidden tab asks


class Watch:
    """Looks at the server's note of its last request, at each sample. Never wakes the loop."""

    def __init__(self, settings: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._last: Any = None
        self._begun_s = clock()
        #: When it was looked, and whether the note had changed.
        self._looks: deque[tuple[float, bool]] = deque()

    def __call__(self) -> bool:
        """Whether requests come often. Only that the note changed counts, not what time it says."""
        now_s, last = self._clock(), self._settings.get("api_last_activity")
        self._looks.append((now_s, last != self._last))
        self._last = last
        while len(self._looks) > LOOKS and now_s - self._looks[0][0] > WATCHED_S:
            self._looks.popleft()
        changes = sum(changed for _, changed in self._looks)
        return changes >= CHANGES_MIN or now_s - self._begun_s < WATCHED_S
