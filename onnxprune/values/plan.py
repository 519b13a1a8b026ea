"""The plan: what is to be removed, why, and from which model. A JSON file that people can review, diff and replay."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxprune.errors import InputError
from onnxprune.values.arrangement import Arrangement
from onnxprune.values.axes import BoolArray, frozen_array
from onnxprune.values.brief import brief

SCHEMA = 1

INPUT_SHAPE = "input_shape"
"""Under this name a plan's request has the shapes that free sizes of inputs were taken for."""

PROTECT = "protect"
"""Under this name a plan's request has the classes whose samples counted several times."""


@dataclass(frozen=True)
class GroupPlan:
    """The cut of one group: `removed` are channel numbers in rising order, `size` is the width before."""

    size: int
    removed: tuple[int, ...]
    layers: tuple[str, ...]

    @property
    def kept(self) -> int:
        """The width after the cut."""
        return self.size - len(self.removed)


@brief
@dataclass(frozen=True)
class Plan:
    """A cut, ready to be applied to the model with this digest.

    Attributes:
        model: file name of the model (for people; the digest decides).
        digest: of the model, weights included.
        method: importance method and its settled options.
        options: see `method`.
        request: the budgets asked for, by name.
        reached: what the cut comes to: macs, params and channels, as shares of the original that are left.
        groups: by group name.
        frozen: group name -> why it is not cut.
        copies: new tensor -> shared tensor that it was copied from.
        branches: operand of a sum or Concat that is left out -> the nodes that go with it.
        seed: of everything random.
        versions: of onnxprune and of the packages that results depend on.
        data: what the scores were computed from, with its preprocessing.
        recovery: how the weights are recovered after the cut, which takes the same data again; empty: not at all.
        classes: the classes that all this is for, as name -> output of the model; empty: all.
        promise: what the run that wrote it promised of the limits on the loss, see `values.promise`; empty: nothing.
        proof: what that run showed of the cut, see `Equality.proof`; '' where nothing was cut.
        arrangement: how the model is arranged before anything goes; `groups` has channels of the arranged model.
    """

    model: str
    digest: str
    method: str
    options: Mapping[str, Any]
    request: Mapping[str, Any]
    reached: Mapping[str, float]
    groups: Mapping[str, GroupPlan]
    frozen: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    branches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    recovery: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    promise: Mapping[str, Any] = field(default_factory=dict)
    proof: str = ""
    arrangement: Arrangement = field(default_factory=Arrangement)

    def keep(self) -> dict[str, BoolArray]:
        """Return the keep masks (True = kept) by group name."""
        masks = {}
        for name, group in self.groups.items():
            mask = np.ones(group.size, dtype=bool)
            mask[list(group.removed)] = False
            masks[name] = frozen_array(mask)
        return masks

    @property
    def removed(self) -> int:
        """How many channels go."""
        return sum(len(group.removed) for group in self.groups.values())

    def to_text(self) -> str:
        """Return the plan as JSON text: one line per group, keys in a fixed order."""
        groups = {
            name: {"size": group.size, "kept": group.kept, "removed": list(group.removed), "layers": list(group.layers)}
            for name, group in self.groups.items()
        }
        head = {
            "schema": SCHEMA,
            "model": self.model,
            "digest": self.digest,
            "method": self.method,
            "options": dict(self.options),
            "request": dict(self.request),
            "reached": dict(self.reached),
            "seed": self.seed,
            "versions": dict(self.versions),
            "data": dict(self.data),
            "recovery": dict(self.recovery),
            "promise": dict(self.promise),
            "proof": self.proof,
            "classes": dict(self.classes),
            "copies": dict(self.copies),
            "branches": {name: list(nodes) for name, nodes in self.branches.items()},
            "frozen": dict(self.frozen),
            "arrangement": self.arrangement.to_json(),
        }
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        body = [f"    {json.dumps(name)}: {json.dumps(group)}" for name, group in groups.items()]
        return "\n".join(["{", *lines, '  "groups": {', ",\n".join(body), "  }", "}"]) + "\n"


def read_plan(text: str, where: str) -> Plan:
    """Parse what `to_text` wrote; `where` names the file in messages.

    Raises:
        InputError: not a plan, one of another schema, or one that contradicts itself.
    """
    try:
        data = json.loads(text)
    except ValueError:
        raise InputError(
            f"{where} is not a plan (no valid JSON); make one with --dry-run.", "unreadable-file"
        ) from None
    if not isinstance(data, dict) or "schema" not in data:
        raise InputError(
            f"{where} is not a plan (it has no schema number); make one with --dry-run.", "unreadable-file"
        )
    if data["schema"] != SCHEMA:
        raise InputError(
            f"{where} has plan schema {data['schema']!r}, this version reads schema {SCHEMA}; make the plan again.",
            "unreadable-file",
        )
    try:
        groups = {name: _group(name, entry, where) for name, entry in data["groups"].items()}
        return Plan(
            model=str(data["model"]),
            digest=str(data["digest"]),
            method=str(data["method"]),
            options=dict(data["options"]),
            request=_request(data["request"]),
            reached={name: float(value) for name, value in data["reached"].items()},
            groups=groups,
            frozen=dict(data["frozen"]),
            copies=dict(data["copies"]),
            branches={str(name): tuple(map(str, nodes)) for name, nodes in data.get("branches", {}).items()},
            seed=int(data["seed"]),
            versions=dict(data["versions"]),
            data=dict(data["data"]),
            recovery=_recovery(data.get("recovery", {})),
            promise=dict(data.get("promise", {})),
            proof=str(data.get("proof", "")),
            classes=_classes(data.get("classes", {})),
            arrangement=Arrangement.from_json(data.get("arrangement", {})),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} is not a whole plan ({error}); make it again with --dry-run.", "unreadable-file"
        ) from None


def _request(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check that what is asked for in numbers is numbers."""
    for name in ("ratio", "macs", "alpha", "max_drop", "max_drift", "max_class_drop", "min_keep"):
        if type(entry.get(name, 0)) not in (int, float):
            raise ValueError(f"its request of {name} is no number")
    for name in ("params", "size"):
        if type(entry.get(name, 0)) not in (int, float, str):
            raise ValueError(f"its request of {name} is no amount")
    for name in ("keep", PROTECT):
        listed = entry.get(name, [])
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise ValueError(f"its {name} is no list of names")
    ratios = entry.get("ratio_for", {})
    if not isinstance(ratios, dict) or any(type(share) not in (int, float) for share in ratios.values()):
        raise ValueError("its ratio_for is no table of shares")
    return dict(entry)


def _recovery(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check a recovery's name and number of samples; plans of before there was any have none."""
    samples = entry.get("samples", 1)
    if entry and (not isinstance(entry["name"], str) or type(samples) is not int or samples < 1):
        raise ValueError("its recovery has no name or number of samples")
    return dict(entry)


def _classes(entry: Mapping[str, Any]) -> Mapping[str, int]:
    """Check the classes, which rise by output and are two at least; plans of before there were any have none."""
    outputs = list(entry.values())
    rising = all(type(output) is int and output >= 0 for output in outputs) and outputs == sorted(set(outputs))
    if not rising or len(outputs) == 1:
        raise ValueError("its classes are no rising outputs of a model")
    return dict(entry)


def _group(name: str, entry: Mapping[str, Any], where: str) -> GroupPlan:
    size, removed = entry["size"], entry["removed"]
    sound = (
        type(size) is int
        and size > 0
        and all(type(channel) is int and 0 <= channel < size for channel in removed)
        and len(set(removed)) == len(removed) <= size
    )
    if not sound:
        raise InputError(
            f"{where} asks the impossible of group {name!r}: it removes {len(removed)} of {size} channels or names "
            "channels that do not exist; make the plan again.",
            "unreadable-file",
        )
    return GroupPlan(size, tuple(sorted(removed)), tuple(entry["layers"]))
