"""Where in the user's program a captured node comes from."""

from __future__ import annotations

import re

from torch import fx

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def source_line(node: fx.Node) -> str | None:
    """`file:line` of the innermost user frame that created a node, if the tracer kept it."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else None


def module_path(node: fx.Node) -> str | None:
    """Dotted path of the module that created a node, e.g. `blocks.0.mlp`; backward nodes too."""
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack")
    if not stack:
        return None
    path = str(list(stack.values())[-1][0])
    path = re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", path)
    path = re.sub(r"^L\.\w+\.?", "", path).replace("_modules.", "")
    return path or None
