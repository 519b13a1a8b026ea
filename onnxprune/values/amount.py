"""An upper budget as people give it: a share of the original, or an amount of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

TINY = 0.0005
"""Shares below this need more than one decimal as a percentage."""

COUNTS: Mapping[str, float] = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
BYTES: Mapping[str, float] = {
    "": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip
MILLISECONDS: Mapping[str, float] = {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}
"""What a unit stands for."""


@dataclass(frozen=True)
class Amount:
    """The most that may be left.

    Attributes:
        number: a share of what there was, above 0 and up to 1, or how much.
        is_share: which of the two.
        text: as it was given.
    """

    number: float
    is_share: bool
    text: str

    def of(self, whole: float) -> float:
        """Return how much that is of `whole`."""
        return self.number * whole if self.is_share else self.number

    def unit(self, units: Mapping[str, float]) -> tuple[str, float]:
        """Return the unit that an amount was given in, and how much one of it is."""
        name = self.text.lstrip("0123456789.,_+-eE ").strip()
        return (name, units[name]) if name in units else ("", 1.0)

    def as_share(self, whole: float) -> "Amount":
        """Return the same as a share of `whole`, at most all of it."""
        return self if self.is_share else Amount(min(1.0, self.number / whole), is_share=True, text=self.text)

    def to_json(self) -> float | str:
        """A share as a number, an amount as it was given."""
        return self.number if self.is_share else self.text


def read_amount(value: "Amount | float | str", units: Mapping[str, float]) -> Amount:
    """Return what `value` means: `50%` and numbers up to 1 are shares, others are amounts in one of `units`.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, Amount):
        return value
    if isinstance(value, bool):
        raise ValueError("it is true or false")
    text = f"{value:g}" if isinstance(value, int | float) else value.strip()
    digits = text.rstrip("%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(digits) :].strip()
    try:
        number = float(digits.replace(",", "").replace("_", ""))
    except ValueError:
        raise ValueError("it has no number") from None
    if not 0 < number < float("inf"):
        raise ValueError("it has to be above 0")
    if unit == "%":
        number, is_share = number / 100, True
        if number > 1:
            raise ValueError("more than 100% of the original is no budget")
    else:
        is_share = number <= 1 and not unit
        number *= 1.0 if is_share else units[unit] if unit in units else _unknown(unit, units)
    return Amount(number, is_share, text)


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal, or with two digits where that would be nothing.

    >>> percent(0.4983), percent(0.0001)
    ('49.8 %', '0.01 %')
    """
    return f"{100 * share:.2g} %" if 0 < abs(share) < TINY else f"{100 * share:.1f} %"


def _unknown(unit: str, units: Mapping[str, float]) -> float:
    raise ValueError(f"{unit!r} is no unit; known are {', '.join(('%', *filter(None, units)))}")
