"""Plan lease: of the jobs that need the same plan at once, one makes it, the others wait for it."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from types import TracebackType

from fastsa.cache import owner
from fastsa.cache.keys import PlanKey
from fastsa.cache.requests import Request, is_over
from fastsa.cache.store import Store
from fastsa.errors import StoreUnusable

LEASE_SLACK_SECONDS = 60.0  # beside the planner's time limit, for a machine under load
WAIT_SLACK_SECONDS = 1.0
SHORTEST, LONGEST = 0.02, 0.1  # seconds between two looks


class PlanLease:
    """Waits, on entering, while another process makes the same plan, and takes the plan on itself.

    It waits as long as the other may plan and a second more: then both plan. `has_waited`: there
    may be a plan now. Entering may raise StoreUnusable.
    """

    def __init__(
        self, store: Store, key: PlanKey, step_budget_bytes: int, time_limit: float
    ) -> None:
        self.has_waited = False
        self.plan_id: str | None = None
        self._store = store
        self._key = key
        self._budget_bytes = step_budget_bytes
        self._time_limit = time_limit
        self._request: Request | None = None

    def __enter__(self) -> PlanLease:
        deadline = time.monotonic() + self._time_limit + WAIT_SLACK_SECONDS
        request = self._begin()
        while request.owner != owner.current() and time.monotonic() < deadline:
            self.has_waited = True
            time.sleep(random.uniform(SHORTEST, LONGEST))
            now = self._store.requests.get(request.id)
            if now is None or now.state in ("planned", "failed"):
                return self
            if now.state == "waiting" or is_over(now):
                request = self._begin()
        self._request = request if request.owner == owner.current() else None
        return self

    def _begin(self) -> Request:
        return self._store.requests.begin(
            "plan", self._key, self._budget_bytes, self._time_limit + LEASE_SLACK_SECONDS
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._request is None:
            return
        # The plan is made: that others are not told must not lose it. The lease ends by itself.
        with suppress(StoreUnusable):
            if error is not None:
                self._store.requests.fail(self._request.id, f"{type(error).__name__}: {error}")
            else:
                self._store.requests.finish(self._request.id, self.plan_id)
