"""Callbacks that put what fastsa knows of the running job into a framework's logs.

Each framework is imported by its own module only. They report; what is trained is no concern of
theirs.
"""
