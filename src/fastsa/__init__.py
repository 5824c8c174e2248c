"""fastsa: give a PyTorch training script a memory budget; get the fastest schedule that fits.

Importing this package imports neither torch nor the native core, so commands start at once.
"""

from fastsa.errors import (
    BadInput,
    CaptureFailed,
    FastsaError,
    FastsaWarning,
    IllegalPlan,
    InfeasibleBudget,
    StoreUnusable,
)

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "CaptureFailed",
    "FastsaError",
    "FastsaWarning",
    "IllegalPlan",
    "InfeasibleBudget",
    "StoreUnusable",
    "__version__",
]
