"""The version: of commands, stored things and cached programs."""

__version__ = "0.1.0"
