"""How much may be left, in each kind of cost."""

from dataclasses import dataclass, replace
from functools import partial

from onnxprune.errors import InputError
from onnxprune.selection.limits import Limit, Limits
from onnxprune.values.amount import Amount
from onnxprune.values.costs import CostTable, Kind

RESERVE = 1024
"""Bytes of a budget of size that are kept for what the file is told of the cut."""


@dataclass(frozen=True)
class Budget:
    """What is asked for; every budget given must hold.

    Attributes:
        ratio: share of the channels of every group to remove.
        macs: share of the multiply-adds that may be left.
        alpha: threshold of the method's own rule, as a multiple of the rule's threshold.
        params: parameters that may be left.
        size: bytes that the file may have.
        latency: milliseconds that one sample may take, as foretold by the costs' clock.
    """

    ratio: float | None = None
    macs: float | None = None
    alpha: float | None = None
    params: Amount | None = None
    size: Amount | None = None
    latency: Amount | None = None

    @property
    def is_own_rule(self) -> bool:
        """Whether the method's own rule alone decides, at whatever multiple of its threshold."""
        return self.ratio is None and not self.is_limited

    @property
    def is_limited(self) -> bool:
        """Whether anything is limited that widths are chosen within."""
        return any(value is not None for value in (self.macs, self.params, self.size, self.latency))

    @property
    def explicit(self) -> bool:
        """Whether anything was asked for, beyond the method's own rule."""
        return any(value is not None for value in vars(self).values())

    def in_shares(self, costs: CostTable) -> "Budget":
        """Return the budget with every amount as a share of the original's."""
        params = None if self.params is None else self.params.as_share(costs.whole_of("params"))
        size = None if self.size is None else self.size.as_share(costs.whole_of("bytes"))
        latency = None if self.latency is None else self.latency.as_share(costs.whole_of("latency"))
        return replace(self, params=params, size=size, latency=latency)

    def limits(self, costs: CostTable) -> Limits:
        """Return what the costs of a network may be.

        Raises:
            InputError: the latency is limited, and nothing foretells it.
        """
        if self.latency is not None and costs.clock is None:
            raise InputError(
                "A budget of latency takes a latency table, which `onnxprune.prune` makes; plan by another one."
            )
        macs = None if self.macs is None else Amount(self.macs, True, "")
        asked: tuple[tuple[Kind, str, Amount | None, float], ...] = (
            ("macs", "MACs", macs, 0.0),
            ("params", "parameters", self.params, 0.0),
            ("bytes", "file's size", self.size, RESERVE),
            ("latency", "latency", self.latency, 0.0),
        )
        found = [
            Limit(what, partial(costs.cost_at, kind), max(1e-9, amount.of(costs.whole_of(kind)) - reserve),
                  costs.whole_of(kind))
            for kind, what, amount, reserve in asked
            if amount is not None
        ]  # fmt: skip
        return Limits(tuple(found), costs.neighbours)

    def to_json(self) -> dict[str, float | str]:
        """What was asked for, by name."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {name: value.to_json() if isinstance(value, Amount) else value for name, value in given.items()}
