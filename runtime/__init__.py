"""Executes a plan: captures the model, finds or makes its plan, runs exactly that order."""
