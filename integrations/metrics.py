"""Metrics: the status of the running job as plain numbers, as loggers take them."""

from __future__ import annotations

from fastsa.runtime.status import status


def metrics(prefix: str) -> dict[str, float]:
    """Return what is known of the planned job now, by name. Never raises.

    `<prefix>planned` is 1 once the plan is final and 0 while it may still be replaced; the others
    are bytes of the whole process on the device and seconds of a step, as in `Status`.

    Args:
        prefix: What each name begins with.

    Returns:
        The numbers; what has not been measured is left out, and all while nothing is planned.
    """
    try:
        found = status()
    except Exception:  # noqa: BLE001  a report must not stop the training
        return {}
    if found is None:
        return {}
    values = {
        "planned": float(found.state == "planned"),
        "process_budget_bytes": found.process_budget_bytes,
        "predicted_peak_bytes": found.predicted_peak_bytes,
        "measured_peak_bytes": found.measured_peak_bytes,
        "predicted_step_seconds": found.predicted_step_seconds,
        "measured_step_seconds": found.measured_step_seconds,
    }
    return {f"{prefix}{name}": float(v) for name, v in values.items() if v is not None}
