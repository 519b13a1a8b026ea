"""Scores and keep masks as .npz files: what was found can be looked at, changed, and used again.

Arrays by name: `score:GROUP` [channels]; `tie:GROUP` [channels], `curve:GROUP` [channels + 1] and `choice:GROUP`
[channels + 1, channels] (the keep mask at every width) where the method has such; `keep:GROUP` [channels], True = kept;
and `about`, JSON with the model's digest, the method and its options, and how the model was arranged first, of which
all this then speaks. One's own file needs `score:` or `keep:`.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import InputError
from onnxprune.importance.checking import check_scores
from onnxprune.importance.method import Method, find_method
from onnxprune.values.arrangement import Arrangement
from onnxprune.values.array_file import ArrayFileError, read_array_file
from onnxprune.values.axes import BoolArray, frozen_array
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores

Array = NDArray[Any]

IMPORTED = Method(
    name="imported",
    summary="Scores from a file that names no method.",
    formula="as the file has them",
    source="the file",
    needs=lambda options: frozenset(),
    score=lambda groups, statistics, options, rng: Scores({}),
)
"""Stands for whatever made a file's scores, where the file does not say: they only rank."""


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """What a file holds; scores, or, where it has none, the keep masks that it asks for."""

    method: Method
    options: Mapping[str, Any]
    digest: str | None
    scores: Scores | None
    keep: Mapping[str, BoolArray]
    arrangement: Arrangement = field(default_factory=Arrangement)

    @property
    def masks_alone(self) -> bool:
        """Whether it asks for keep masks and has no scores."""
        return self.scores is None


def score_bytes(
    scores: Scores,
    keep: Mapping[str, BoolArray],
    method: str,
    options: Mapping[str, Any],
    digest: str,
    arrangement: Arrangement | None = None,
) -> bytes:
    """Return the file of scores and of the masks chosen by them; the same input gives the same bytes."""
    arranged = {} if arrangement is None else arrangement.to_json()
    facts = {"model": digest, "method": method, "options": dict(options), "arrangement": arranged}
    about = json.dumps(facts, sort_keys=True)
    arrays: dict[str, Array] = {"about": np.asarray(about)}
    for name, values in scores.values.items():
        arrays[f"score:{name}"] = values
        if name in scores.ties:
            arrays[f"tie:{name}"] = scores.ties[name]
        if name in scores.curves:
            arrays[f"curve:{name}"] = scores.curves[name]
        if scores.choose is not None:
            widths = range(1, len(values) + 1)
            masks = [np.zeros(len(values), dtype=bool), *(scores.choose(name, width) for width in widths)]
            arrays[f"choice:{name}"] = np.stack(masks)
    arrays.update({f"keep:{name}": np.asarray(mask) for name, mask in keep.items()})
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)  # type: ignore[arg-type]
    return target.getvalue()


def read_score_file(path: Path, groups: Sequence[ChannelGroup], digest: str) -> ScoreFile:
    """Read scores or keep masks of the prunable `groups` of the model with this `digest`.

    Raises:
        InputError: it cannot be read, was made for another model, or does not fit the groups.
    """
    arrays = _arrays(path)
    about = _about(arrays.pop("about", None), path)
    made_for = about.get("model")
    if made_for is not None and made_for != digest:
        raise InputError(
            f"{path} was made for another model (digest {str(made_for)[:12]}...); make it again.", "wrong-model"
        )
    parts: dict[str, dict[str, Array]] = {}
    for key, value in arrays.items():
        kind, _, name = key.partition(":")
        parts.setdefault(kind, {})[name] = value
    known = {group.name: group for group in groups}
    for kind, named in parts.items():
        if kind not in ("score", "tie", "curve", "choice", "keep"):
            raise InputError(
                f"{path} holds {kind!r}; arrays are called score:GROUP, tie:GROUP or keep:GROUP.", "bad-scores"
            )
        for name in named:
            if name not in known:
                raise InputError(
                    f"{path} speaks of group {name!r}, which is no prunable group of this model.", "bad-scores"
                )
    if not parts.get("score") and not parts.get("keep"):
        raise InputError(
            f"{path} holds neither scores nor keep masks; arrays are called score:GROUP or keep:GROUP.", "bad-scores"
        )
    method = find_method(str(about["method"])) if "method" in about else IMPORTED
    options = method.settle(about.get("options", {}))
    keep = {name: _mask(value, known[name], path) for name, value in parts.get("keep", {}).items()}
    scores = _scores(parts, groups, method, options, path) if parts.get("score") else None
    return ScoreFile(method, options, made_for, scores, keep, _arrangement(about, path))


def _arrays(path: Path) -> dict[str, Array]:
    try:
        found = read_array_file(path)
    except FileNotFoundError:
        raise InputError(f"No such file of scores: {path}; --save-scores writes one.", "missing-file") from None
    except (OSError, ArrayFileError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"'{path}' cannot be read as an .npz file of numbers ({reason}); --save-scores writes one.",
            "unreadable-file",
        ) from None
    if not isinstance(found, Mapping):
        raise InputError(f"{path} is no .npz file; --save-scores writes one.", "unreadable-file")
    return dict(found)


def _about(value: Array | None, path: Path) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        found = json.loads(str(value))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("options", {}), dict):
        raise InputError(
            f"The array `about` of {path} is no JSON object; leave it out or write it with --save-scores.", "bad-scores"
        )
    return found


def _arrangement(about: Mapping[str, Any], path: Path) -> Arrangement:
    try:
        return Arrangement.from_json(about.get("arrangement", {}))
    except ValueError as error:
        raise InputError(f"The array `about` of {path} is not whole: {error}; make it again.", "bad-scores") from None


def _mask(value: Array, group: ChannelGroup, path: Path) -> BoolArray:
    if value.shape != (group.size,) or value.dtype != np.bool_ or not value.any():
        raise InputError(
            f"{path}: the keep mask of group {group.name!r} has to be {group.size} truth values, one at least true.",
            "bad-scores",
        )
    return frozen_array(value)


def _scores(
    parts: Mapping[str, Mapping[str, Array]],
    groups: Sequence[ChannelGroup],
    method: Method,
    options: Mapping[str, Any],
    path: Path,
) -> Scores:
    numbers = {
        kind: {name: _floats(v, path) for name, v in parts.get(kind, {}).items()} for kind in ("score", "tie", "curve")
    }
    choices = parts.get("choice", {})
    for group in groups:
        choice = choices.get(group.name)
        if choice is not None and not _is_choice(choice, group.size):
            raise InputError(
                f"{path}: the choices of group {group.name!r} are no keep masks for every width.", "bad-scores"
            )
    whole = len(choices) == len(groups) > 0
    found = Scores(
        numbers["score"],
        numbers["tie"],
        curves=numbers["curve"],
        choose=(lambda name, count: frozen_array(choices[name][count])) if whole else None,
    )
    check_scores(found, groups, str(path), curves=bool(found.curves) or method.policy(options) == "greedy")
    return found


def _floats(value: Array, path: Path) -> Array:
    if value.dtype.kind not in "fiub":
        raise InputError(f"{path} holds scores of type {value.dtype}; they have to be numbers.", "bad-scores")
    return frozen_array(value.astype(np.float64))


def _is_choice(value: Array, size: int) -> bool:
    fits = value.shape == (size + 1, size) and value.dtype == np.bool_
    return fits and value.sum(axis=1).tolist() == list(range(size + 1))
