"""Records a real training step of an unmodified script."""
