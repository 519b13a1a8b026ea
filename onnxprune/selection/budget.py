"""How much may be left, in each kind of cost. What can be limited is listed in `BUDGETS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from onnxprune.errors import InputError
from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.schedule import left_after
from onnxprune.values.amount import BYTES, COUNTS, MILLISECONDS, Amount, read_amount
from onnxprune.values.costs import CostTable, Kind

RESERVE = 1024
"""Bytes of a budget of size that are kept for what the file is told of the cut."""


@dataclass(frozen=True, eq=False)
class Limited:
    """A cost that can be limited.

    Attributes:
        name: of the budget: of the field of `Budget`, of the argument, and in plans.
        kind: of cost.
        words: what may be left of it, for people.
        units: that an amount of it is given in; None: it is given as a share alone.
        reserve: of an amount, that is kept for what its costs do not know of.
    """

    name: str
    kind: Kind
    words: str
    units: Mapping[str, float] | None = None
    reserve: float = 0.0


BUDGETS = (
    Limited("macs", "macs", "MACs"),
    Limited("params", "params", "parameters", COUNTS),
    Limited("size", "bytes", "file's size", BYTES, RESERVE),
    Limited("latency", "latency", "latency", MILLISECONDS),
)
"""All that can be limited. Another one takes an entry here, a field of `Budget`, and an option that users give."""


@dataclass(frozen=True)
class Budget:
    """What is asked for; every budget given must hold.

    Attributes:
        ratio: share of the channels of every group to remove.
        macs: share of the multiply-adds that may be left.
        alpha: threshold of the method's own rule, as a multiple of the rule's threshold.
        params: parameters that may be left.
        size: bytes that the file may have.
        latency: milliseconds that one sample may take, as predicted by the costs' latency model.
    """

    ratio: float | None = None
    macs: float | None = None
    alpha: float | None = None
    params: Amount | None = None
    size: Amount | None = None
    latency: Amount | None = None

    @property
    def limited(self) -> dict[Limited, Amount]:
        """The costs that are limited, with what may be left."""
        given = {each: getattr(self, each.name) for each in BUDGETS}
        return {each: _amount(value) for each, value in given.items() if value is not None}

    @property
    def is_own_rule(self) -> bool:
        """Whether the method's own rule alone decides, at whatever multiple of its threshold."""
        return self.ratio is None and not self.is_limited

    @property
    def is_limited(self) -> bool:
        """Whether anything is limited that widths are chosen within."""
        return bool(self.limited)

    @property
    def explicit(self) -> bool:
        """Whether anything was asked for, beyond the method's own rule."""
        return any(value is not None for value in vars(self).values())

    def in_shares(self, costs: CostTable) -> "Budget":
        """Return the budget with every amount as a share of the original's."""
        return self._with(lambda each, amount: amount.as_share(costs.whole_of(each.kind)))

    def part(self, way: float) -> "Budget":
        """Return what of a budget in shares is to be reached after a part `way` of the way, see `left_after`.

        A threshold is the same all the way.
        """
        if way == 1:
            return self
        ratio = None if self.ratio is None else 1 - left_after(way, 1 - self.ratio)
        found = self._with(lambda _, amount: replace(amount, number=left_after(way, amount.number)))
        return replace(found, ratio=ratio)

    def _with(self, change: Callable[[Limited, Amount], Amount]) -> "Budget":
        """Return the budget with other amounts."""
        found = {each: change(each, amount) for each, amount in self.limited.items()}
        fields = {each.name: amount if each.units else amount.number for each, amount in found.items()}
        return replace(self, **fields)  # type: ignore[arg-type]

    def limits(self, costs: CostTable) -> Limits:
        """Return what the costs of a network may be.

        Raises:
            InputError: the latency is limited, and nothing predicts it.
        """
        if self.latency is not None and costs.latency_model is None:
            raise InputError(
                "A budget of latency takes a latency table, which `onnxprune.prune` makes; plan by another one."
            )
        found = []
        for each, amount in self.limited.items():
            whole = costs.whole_of(each.kind)
            most = max(1e-9, amount.of(whole) - each.reserve)
            found.append(Limit(each.words, partial(costs.cost_at, each.kind), most, whole))
        return Limits(tuple(found), costs.neighbours)

    def to_json(self) -> dict[str, float | str]:
        """What was asked for, by name."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {name: value.to_json() if isinstance(value, Amount) else value for name, value in given.items()}


def _amount(value: Amount | float) -> Amount:
    return value if isinstance(value, Amount) else Amount(value, True, "")


def read_budget(
    ratio: float | None = None, alpha: float | None = None, **limited: Amount | float | str | None
) -> Budget:
    """Return the budget that is meant by what users give: shares, or amounts in units, by the names of `BUDGETS`.

    Raises:
        InputError: an amount is none.
    """
    found = {each.name: _read(each, limited.get(each.name)) for each in BUDGETS}
    return Budget(ratio=ratio, alpha=alpha, **found)  # type: ignore[arg-type]


def _read(limited: Limited, value: Amount | float | str | None) -> Amount | float | str | None:
    if value is None or limited.units is None:
        return value
    try:
        return read_amount(value, limited.units)
    except ValueError as error:
        raise InputError(f"{limited.name}={value!r} is no budget ({error}).") from None
