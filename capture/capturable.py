"""Capturable: whether capturing a model would be noticed by the program, or fail."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.parameter import is_lazy
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from fastsa.instrumentation.threads import alone


def obstacle(module: nn.Module, arguments: object) -> str | None:
    """Why a module that is about to be called should run as it is; None if it can be captured."""
    if isinstance(module, OptimizedModule):  # with hooks, or in a DistributedDataParallel
        return "the script compiles its model itself"
    if isinstance(module, torch.jit.ScriptModule):
        return "the model is TorchScript"
    if any(_is_subclass(leaf) for leaf in tree_leaves(arguments)):
        return "the model is called with a subclass of torch.Tensor"
    if nn.Module.__call__ is not nn.Module._wrapped_call_impl:
        return "the script has patched torch.nn.Module"
    if sys.getprofile() is not None or sys.gettrace() is not None:
        return "the script traces its own Python"
    around = surroundings()
    if around is not None:
        return around
    if any(not isinstance(mode, DeviceContext) for mode in _function_modes()):
        return "the model is called under a mode of the script's own"
    with alone() as is_alone:
        # What other threads run would be captured too, or behave as if it were.
        return None if is_alone else "other threads are at work"


def surroundings() -> str | None:
    """Why a model should run as it is where it is called now; None if nothing is in the way."""
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
        return "it is called under saved_tensors_hooks, which would see what a plan saves"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "it is called inside a transform of torch.func"
    return None


def has_lazy_parameters(module: nn.Module) -> bool:
    """Whether a module makes some of its parameters in its first forward."""
    return any(map(is_lazy, (*nn.Module.parameters(module), *nn.Module.buffers(module))))


def is_untraceable(argument: object) -> bool:
    """Whether an argument is a tensor of a class, or has one in it, that torch cannot trace."""
    leaves = tree_leaves(argument)
    return any(_is_subclass(leaf) and not is_traceable_wrapper_subclass(leaf) for leaf in leaves)


def _is_subclass(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and type(leaf) not in (Tensor, nn.Parameter)


def _function_modes() -> list[object]:
    return [torch._C._get_function_stack_at(i) for i in range(torch._C._len_torch_function_stack())]
