"""Instrumentation: watches a process that trains."""
