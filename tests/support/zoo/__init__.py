"""Models to capture once and to train under many plans, and how that is done."""
