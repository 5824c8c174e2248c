"""Records one real training step of an unmodified script."""
