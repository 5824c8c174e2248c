"""The tiers, and the fixtures that all tests share.

A test belongs to the tier whose folder it is in; `@pytest.mark.nightly` on a test, a class or a
parameter moves it out of the others.
"""

from __future__ import annotations

import os

# Before torch is imported: the threads of several workers wait for each other in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["support.fixtures", "support.tiers"]

collect_ignore = ["scripts"]
