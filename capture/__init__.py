"""Turns a model into a Graph, and runs what it has captured."""
