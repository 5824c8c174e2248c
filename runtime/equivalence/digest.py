"""Digest: a tensor's bits as a short text, taken without leaving anything on its device."""

from __future__ import annotations

import ctypes
import hashlib

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def digest(tensor: Tensor) -> str:
    """sha256 (hex) over a tensor's dtype, shape and raw bytes, in the order of its indices.

    A contiguous tensor on the CPU is read where it is; others are copied, on the CPU.
    """
    found = hashlib.sha256()
    with torch.no_grad(), torch._C.DisableTorchFunction():  # no mode of the script's is to see it
        for part in _parts(tensor):
            _add(found, part)
    return found.hexdigest()


def _parts(tensor: Tensor) -> list[Tensor]:
    """The plain tensors of which a sparse or wrapped one consists."""
    wrapped: object = tensor
    if is_traceable_wrapper_subclass(wrapped):
        names, _ = wrapped.__tensor_flatten__()
        return [part for name in names for part in _parts(getattr(tensor, name))]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    return [tensor if tensor.layout is torch.strided else tensor.to_dense()]


def _add(found: hashlib._Hash, tensor: Tensor) -> None:
    found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    size = tensor.numel() * tensor.element_size()
    if not size or tensor.device.type == "meta":
        return
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    found.update((ctypes.c_char * size).from_address(plain.data_ptr()))
