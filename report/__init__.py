"""Reads what is stored and shows it; computes nothing new."""
