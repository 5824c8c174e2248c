"""Watches a process that trains: its models, steps, allocators and devices."""
