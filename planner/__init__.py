"""A graph and a budget to a plan. Knows nothing of torch."""
