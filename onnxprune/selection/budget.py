"""How much may be left, in each kind of cost. What can be limited is listed in `BUDGETS`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from onnxprune.errors import InputError, did_you_mean
from onnxprune.registry import Registry, kind_complaint
from onnxprune.selection.limits import Limit, Limits
from onnxprune.selection.schedule import left_after
from onnxprune.values.amount import Amount, read_amount
from onnxprune.values.axes import FloatArray
from onnxprune.values.costs import CostTable, Kind

GROUP = "onnxprune.budgets"
"""Entry points under which other packages offer what can be limited: the name of each = where its `Limited` is."""

CostOf = Callable[[CostTable, FloatArray], float]
"""From the costs of a network and the width of every axis to one number; it never falls where a width grows."""


@dataclass(frozen=True, eq=False)
class Limited:
    """A cost that can be limited.

    Attributes:
        name: of the budget: of the field of `Budget`, of the argument, and in plans.
        words: what may be left of it, for people.
        cost: what a network costs.
        units: that an amount of it is given in; None: it is given as a share alone.
        reserve: of an amount, that is kept for what its costs do not know of.
        key: the cost's name in results; empty: the budget's.
    """

    name: str
    words: str
    cost: CostOf
    units: Mapping[str, float] | None = None
    reserve: float = 0.0
    key: str = ""

    def at(self, costs: CostTable, counts: Mapping[str, int]) -> float:
        """Return the cost where group `name` keeps `counts[name]` channels."""
        return self.cost(costs, costs.widths_at(counts))

    def whole(self, costs: CostTable) -> float:
        """Return the cost before anything goes."""
        return self.cost(costs, costs.widths)


BUDGETS: Registry[Limited] = Registry("budget", "onnxprune.selection.budgets", GROUP, kind_complaint(Limited))
"""All that can be limited."""


def register(limited: Limited) -> Limited:
    """Add what can be limited to the registry."""
    return BUDGETS.register(limited.name)(limited)


def cost_of(kind: Kind) -> CostOf:
    """Return the cost of a kind that is counted."""
    return lambda costs, widths: costs.at(kind, widths)


def find_budget(name: str) -> Limited:
    """Return what a name limits.

    Raises:
        InputError: there is no such budget.
    """
    if name not in BUDGETS:
        nearest = did_you_mean(name, BUDGETS)
        known = ", ".join(BUDGETS)
        raise InputError(
            BUDGETS.unusable(name) or f"There is no budget {name!r}{nearest}; the known ones are {known}.",
            "unknown-name",
        )
    return BUDGETS[name]


def all_budgets() -> list[Limited]:
    """Return all that can be limited: what `Budget` has fields for, in their order, and then the others."""
    return sorted(BUDGETS.values(), key=lambda each: OWN.index(each.name) if each.name in OWN else len(OWN))


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
        budgets: what other packages limit, by name.
    """

    ratio: float | None = None
    macs: float | None = None
    alpha: float | None = None
    params: Amount | None = None
    size: Amount | None = None
    latency: Amount | None = None
    budgets: Mapping[str, Amount] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no number.

        Raises:
            InputError: one of them is none.
        """
        for name, value in vars(self).items():
            if isinstance(value, bool | str):
                raise InputError(f"Budget({name}={value!r}) is no number; write it as 0.5.", "bad-value")

    @property
    def limited(self) -> dict[Limited, Amount]:
        """The costs that are limited, with what may be left."""
        given = {**{name: getattr(self, name) for name in OWN}, **self.budgets}
        return {find_budget(name): _amount(value) for name, value in given.items() if value is not None}

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
        return bool(self.to_json())

    def in_shares(self, costs: CostTable) -> "Budget":
        """Return the budget with every amount as a share of the original's."""
        return self._with(lambda each, amount: amount.as_share(each.whole(costs)))

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
        own = {each.name: amount if each.units else amount.number for each, amount in found.items() if each.name in OWN}
        budgets = {each.name: amount for each, amount in found.items() if each.name not in OWN}
        return replace(self, **own, budgets=budgets)  # type: ignore[arg-type]

    def limits(self, costs: CostTable) -> Limits:
        """Return what the costs of a network may be.

        Raises:
            InputError: the latency is limited, and nothing predicts it.
        """
        if self.latency is not None and costs.latency_model is None:
            raise InputError(
                "A budget of latency takes a latency table, which `onnxprune.prune` makes; plan by another one.",
                "missing-option",
            )
        found = []
        for each, amount in self.limited.items():
            whole = each.whole(costs)
            most = max(1e-9, amount.of(whole) - each.reserve)
            unit = None if amount.is_share or each.units is None else amount.unit(each.units)
            found.append(Limit(each.words, partial(each.at, costs), most, whole, unit, each.reserve))
        return Limits(tuple(found), (lambda _: costs.groups) if self.budgets else costs.neighbours)

    def to_json(self) -> dict[str, Any]:
        """What was asked for, by name."""
        given = {**vars(self), "budgets": {name: _amount(value).to_json() for name, value in self.budgets.items()}}
        asked = {name: value for name, value in given.items() if value is not None and value != {}}
        return {name: value.to_json() if isinstance(value, Amount) else value for name, value in asked.items()}


OWN = tuple(each.name for each in fields(Budget) if each.name not in ("ratio", "alpha", "budgets"))
"""The budgets that have fields of `Budget`."""


def left_of(names: Iterable[str], costs: CostTable, counts: Mapping[str, int]) -> dict[str, float]:
    """Return the share that is left of what budgets limit, by their names."""
    wholes = {name: find_budget(name).whole(costs) for name in names}
    return {name: BUDGETS[name].at(costs, counts) / whole for name, whole in wholes.items() if whole}


def _amount(value: Amount | float) -> Amount:
    return value if isinstance(value, Amount) else Amount(value, True, "")


def read_budget(
    ratio: float | None = None, alpha: float | None = None, /, **limited: Amount | float | str | None
) -> Budget:
    """Return the budget that is meant by what users give: shares, or amounts in units, by the names of `BUDGETS`.

    Raises:
        InputError: an amount is none, or there is no such budget.
    """
    found = {name: _read(find_budget(name), value) for name, value in limited.items() if value is not None}
    own = {name: value for name, value in found.items() if name in OWN}
    budgets = {name: _amount(value) for name, value in found.items() if name not in OWN}
    return Budget(ratio=ratio, alpha=alpha, budgets=budgets, **own)  # type: ignore[arg-type]


def _read(limited: Limited, value: Amount | float | str) -> Amount | float:
    if limited.units is None and not isinstance(value, str):
        return value
    try:
        found = read_amount(value, limited.units or {"": 1.0})
        if limited.units is None and not found.is_share:
            raise ValueError("it takes a share, such as 50%")
    except ValueError as error:
        form = "50%" if limited.units is None else "50% or 1.5M"
        raise InputError(
            f"--budget {limited.name}={value} is no budget ({error}); write it as {form}.", "bad-value"
        ) from None
    return found.number if limited.units is None else found
