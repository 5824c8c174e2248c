"""Capture: a model becomes a Graph."""
