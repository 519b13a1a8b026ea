"""A registry that fills itself: every module of a package is imported, decorators register, duplicates raise."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def kind_complaint(kind: type) -> Callable[[str, Any], str | None]:
    """Return what says why something cannot be registered: it is of another kind, or has another `name`."""

    def complaint(name: str, thing: Any) -> str | None:
        if not isinstance(thing, kind):
            return f"it is no {kind.__module__}.{kind.__qualname__}"
        found = getattr(thing, "name", None)
        return None if found == name else f"it calls itself {found!r}"

    return complaint


def names_of(package: str, group: str) -> tuple[str, ...]:
    """Return the names that a registry of a package and a group of entry points will hold, where files bear the names.

    Nothing is imported but the packages above.
    """
    spec = find_spec(package)
    places = [] if spec is None else spec.submodule_search_locations
    files = {module.name.rstrip("_").replace("_", "-") for module in pkgutil.iter_modules(places)}
    return tuple(sorted(files | {point.name for point in entry_points(group=group)}))


class Registry(Mapping[str, T], Generic[T]):
    """Named things found in the modules of one package, in alphabetical order.

    The package is imported on first use, so that adding a thing means adding a file and editing no list. Other
    distributions may offer more as entry points of `group`; `complaint` says of a name and what was found under it what
    is wrong with it, or None.
    """

    def __init__(
        self,
        what: str,
        package: str,
        group: str | None = None,
        complaint: Callable[[str, Any], str | None] = lambda *_: None,
    ) -> None:
        self._what = what
        self._package = package
        self._group = group
        self._complaint = complaint
        self._things: dict[str, T] = {}
        self._broken: dict[str, str] = {}
        self._filled = False

    @property
    def broken(self) -> Mapping[str, str]:
        """Why what other distributions offer cannot be used, by name: their faults must not stop everything else."""
        self._fill()
        return self._broken

    def unusable(self, name: str) -> str | None:
        """Say why what another distribution offers under a name cannot be used; None: nothing of that kind is known."""
        why = self.broken.get(name)
        return why and f"{self._what.capitalize()} {name!r} cannot be used: {why}; repair or remove that package."

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
        if self._group is not None:
            for point in sorted(entry_points(group=self._group), key=lambda point: (point.name, point.value)):
                self._take(point)

    def _take(self, point: EntryPoint) -> None:
        """Register what an entry point stands for, or note why that cannot be."""
        try:
            thing = point.load()
        except Exception as error:
            problem: str | None = f"it cannot be loaded ({type(error).__name__}: {error})"
        else:
            taken = point.name in self._things and self._things[point.name] is not thing
            problem = "that name is taken" if taken else self._complaint(point.name, thing)
            if problem is None:
                self._things[point.name] = thing
                return
        source = f" of {point.dist.name}" if point.dist is not None else ""
        self._broken[point.name] = f"{point.value}{source}: {problem}"

    def __getitem__(self, name: str) -> T:
        self._fill()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(sorted(self._things))

    def __len__(self) -> int:
        self._fill()
        return len(self._things)
