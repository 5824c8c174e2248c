"""Allocators: every allocation and release, of CPU, CUDA and CuPy."""
