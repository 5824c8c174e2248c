"""Trains a script under a plan: captures the model, finds or makes a plan, runs exactly that."""
