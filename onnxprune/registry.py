"""A registry that fills itself: every module of a package is imported, decorators register, duplicates raise."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Named things found in the modules of one package, in alphabetical order.

    The package is imported on first use, so that adding a thing means adding a file and editing no list.
    """

    def __init__(self, what: str, package: str) -> None:
        self._what = what
        self._package = package
        self._things: dict[str, T] = {}
        self._filled = False

    def register(self, *names: str) -> Callable[[T], T]:
        """Return a decorator that registers its target under every one of `names`.

        Raises:
            ValueError: a name is taken already.
        """

        def decorate(thing: T) -> T:
            for name in names:
                if name in self._things:
                    raise ValueError(f"{self._what} {name!r} is registered twice")
                self._things[name] = thing
            return thing

        return decorate

    def _fill(self) -> None:
        if self._filled:
            return
        self._filled = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")

    def __getitem__(self, name: str) -> T:
        self._fill()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(sorted(self._things))

    def __len__(self) -> int:
        self._fill()
        return len(self._things)
