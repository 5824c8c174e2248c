"""Makes and improves plans in the background, so that no job waits for them."""
