from collections.abc import Callable

import pytest

from onnxprune.pipeline.config.reading import names, number, numbers, points, settings, share, size


@pytest.mark.parametrize(
    ("text", "value"), [("50%", 0.5), ("50 %", 0.5), (" 0.5", 0.5), ("0", 0.0), ("1", 1.0), ("100%", 1.0), ("1%", 0.01)]
)
def test_shares(text: str, value: float) -> None:
    assert share(text) == value


def test_other_values() -> None:
    assert number("1/255") == 1 / 255
    assert numbers(".485, .456,.406") == (0.485, 0.456, 0.406)
    assert size("224") == 224
    assert size("32,64") == size("32x64") == (32, 64)
    assert names("cat, dog ,3") == ("cat", "dog", "3")
    assert points("5") == points("5 %") == points("5%") == 0.05
    assert points("0.5") == 0.005
    assert settings(["a = b=c"]) == {"a": "b=c"}


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (share, "101%"), (share, "-1%"), (share, "x"), (share, ""), (share, "inf"), (share, "5%%"),
        (number, "1/0"), (number, ""), (number, "nan"), (numbers, "1,,2"), (size, "1.5"), (size, "-3"),
        (size, "1,2,3"), (settings, ["a"]), (settings, ["=b"]), (names, "a,,b"), (names, ""),
        (points, "101"), (points, "-1"), (points, "x"),
    ],
)  # fmt: skip
def test_what_is_none(read: Callable[[object], object], text: object) -> None:
    with pytest.raises(ValueError, match=r"write it as|is not between"):
        read(text)
