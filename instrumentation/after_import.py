"""After an import: does something as soon as a program imports a module, and no earlier."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class AfterImport(MetaPathFinder):
    """Calls `action` once, when the top-level module `name` has been imported: at once if it is.

    Until then it sits in `sys.meta_path`; `close` takes it out. It never imports the module by
    itself, and leaves the module's own loader in place. What `action` raises, the import raises.
    """

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action
        self._finding = False
        if name in sys.modules:
            action()
        else:
            sys.meta_path.insert(0, self)

    def close(self) -> None:
        """Stop waiting. Safe to call twice."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leave the search to the other finders, and give their loader a companion."""
        if fullname != self._name or self._finding:
            return None
        self._finding = True
        try:
            spec = _found_by_others(fullname, path, target, self)
        finally:
            self._finding = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Companion(spec.loader, self._imported)
        return spec

    def _imported(self) -> None:
        if self in sys.meta_path:  # else closed while the module was being imported
            self.close()
            self._action()


class _Companion(Loader):
    """Loads as `loader` does, then makes way for it."""

    def __init__(self, loader: Loader, imported: Callable[[], None]) -> None:
        self._loader = loader
        self._imported = imported

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._imported()


def _found_by_others(
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
    but: MetaPathFinder,
) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        if finder is not but:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None
