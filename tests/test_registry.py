"""The registry that fills itself from the modules of a package."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxprune.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with two modules that register themselves, one under two names."""
    name = "plugins_of_the_registry_test"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from onnxprune.registry import Registry\n"
        f"THINGS = Registry('thing', '{name}')\n"
        "loaded = []\n"
    )  # fmt: skip
    for module, names in (("zebra", "'zebra'"), ("ant", "'bee', 'ant'")):
        (folder / f"{module}.py").write_text(
            f"from {name} import THINGS, loaded\n"
            f"loaded.append('{module}')\n"
            f"@THINGS.register({names})\n"
            f"def make_{module}(): return '{module}'\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def test_modules_are_imported_on_first_use_and_names_are_sorted(package: str) -> None:
    module = __import__(package)
    assert module.loaded == []
    assert list(module.THINGS) == ["ant", "bee", "zebra"]
    assert sorted(module.loaded) == ["ant", "zebra"]


@pytest.mark.parametrize("use", ["len", "get", "contains"])
def test_every_way_to_look_fills_the_registry(package: str, use: str) -> None:
    things = __import__(package).THINGS
    if use == "len":
        assert len(things) == 3
    elif use == "get":
        assert things["bee"] is things["ant"]
        assert things["bee"]() == "ant"
    else:
        assert "zebra" in things
        assert "wolf" not in things


def test_a_name_is_taken_once() -> None:
    registry: Registry[int] = Registry("thing", "onnxprune.values")
    registry.register("one")(1)
    with pytest.raises(ValueError, match="thing 'one' is registered twice"):
        registry.register("two", "one")(2)


def test_what_is_registered_is_returned_unchanged() -> None:
    registry: Registry[object] = Registry("thing", "onnxprune.values")
    thing = object()
    assert registry.register("it")(thing) is thing
    assert registry["it"] is thing


def test_an_unknown_name_is_a_key_error() -> None:
    registry: Registry[int] = Registry("thing", "onnxprune.values")
    with pytest.raises(KeyError):
        registry["nothing"]
