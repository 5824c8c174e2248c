"""fastsa: give a PyTorch training script a memory budget; get the fastest schedule that fits.

Importing this package imports neither torch nor the native core, so commands start at once.
"""

from typing import TYPE_CHECKING, Any

from fastsa.errors import (
    BadInput,
    CaptureFailed,
    FastsaError,
    FastsaWarning,
    IllegalPlan,
    InfeasibleBudget,
    StoreUnusable,
)
from fastsa.version import __version__

if TYPE_CHECKING:
    from fastsa.profiling import profile, profile_step
    from fastsa.runtime.status import Status, status

__all__ = [
    "BadInput",
    "CaptureFailed",
    "FastsaError",
    "FastsaWarning",
    "IllegalPlan",
    "InfeasibleBudget",
    "Status",
    "StoreUnusable",
    "__version__",
    "profile",
    "profile_step",
    "status",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in ("profile", "profile_step"):
        from fastsa import profiling

        return getattr(profiling, name)
    if name in ("Status", "status"):
        from fastsa.runtime import status

        return getattr(status, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
