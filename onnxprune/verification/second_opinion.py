"""A second opinion, by a runtime that shares nothing with onnxruntime: so that a fault of one cannot bless a model.

First the original is run in both, which have to agree, or the other one has no say. Then the cut is compared with the
masked original, both run in the other one. At the end the model that is written, whatever weights it was given, is run
in both once more.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxprune.analysis.analysis import Analysis
from onnxprune.errors import InputError, VerificationError
from onnxprune.graph.storage.metadata import interface_of
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.runtime.oracles import open_oracle
from onnxprune.runtime.session import open_session
from onnxprune.surgery.mask import masked_model
from onnxprune.values.axes import Axis, BoolArray
from onnxprune.values.branches import Branch
from onnxprune.values.equality import Equality
from onnxprune.values.interface import fitted
from onnxprune.values.opinion import Opinion
from onnxprune.verification.equality import difference, kept_of, masks_of, share_of_others

Values = Mapping[str, NDArray[Any]]

TOLERANCE = 1e-4
"""Kernels of two runtimes add up in other orders, see docs/benchmarks/runtimes.md.

Of integers it is the share that may be others.
"""
MOST = 1e-2
"""Where more than this had to be allowed, nothing could be told."""


def second_opinion(
    name: str,
    analysis: Analysis,
    cut: StoredModel,
    masks: Mapping[Axis, BoolArray],
    branches: Sequence[Branch],
    feeds: Sequence[Values],
    first: Equality,
) -> Opinion:
    """Compare a cut with the masked original in another runtime.

    Args:
        name: of the runtime.
        analysis: of the original.
        cut: the cut model.
        masks: what was removed, as `check_equality` takes it.
        branches: those that were left out.
        feeds: calls of the original.
        first: what onnxruntime said, whose noise is allowed here too.

    Returns:
        What was found, but for the written model.

    Raises:
        InputError: the runtime is not installed, cannot run the model, or disagrees about the original, or rounding
            moves its outputs too far for two runtimes to be compared.
        VerificationError: cut and mask differ.
    """
    graph = analysis.graph
    allowed = max(TOLERANCE, 10 * first.noise, first.tolerance)
    if not allowed <= MOST:
        raise InputError(
            f"Rounding alone moves the outputs of this model by {first.noise:.1e}, so that --oracle {name} cannot tell "
            "anything; leave it out.",
            "not-runnable",
        )
    plain, worst, tensor = _between_runtimes(name, StoredModel(graph.model, graph.weights), feeds)
    if worst > allowed:
        raise InputError(
            f"--oracle {name} computes something else than onnxruntime from the original: {tensor!r} differs by "
            f"{worst:.1e}, so that it cannot tell about the cut; name another runtime, or leave it out.",
            "not-runnable",
        )
    masked = StoredModel(masked_model(analysis, masks, branches), graph.weights)
    zeroed = _answers(name, masked, "the masked original", feeds)
    worst, tensor = _worst(zeroed, _answers(name, cut, "the cut", feeds), masks)
    if worst > allowed:
        raise VerificationError(
            f"The cut model does not equal the masked original in {name}, though it does in onnxruntime: {tensor!r} "
            f"differs by {worst:.1e} (allowed {allowed:.1e}); nothing was written, please report this model.",
            "cut-differs",
        )
    power, _ = _worst(plain, zeroed, {})
    return Opinion(name, worst, allowed, power)


def confirm_written(name: str, written: StoredModel, feeds: Sequence[Values], allowed: float) -> float:
    """Run a model in another runtime and in onnxruntime, and return how much its outputs differ.

    Raises:
        InputError: the runtime cannot run it.
        VerificationError: they differ by more than `allowed`.
    """
    _, worst, tensor = _between_runtimes(name, written, feeds)
    if worst > allowed:
        raise VerificationError(
            f"The result computes something else in {name} than in onnxruntime: {tensor!r} differs by {worst:.1e} "
            f"(allowed {allowed:.1e}); nothing was written.",
            "cut-differs",
        )
    return worst


def _between_runtimes(name: str, model: StoredModel, feeds: Sequence[Values]) -> tuple[list[Values], float, str]:
    """Return what another runtime makes of a model, how far that is from onnxruntime's, and in which output."""
    session = open_session(model.proto, model.weights, name="the model", prepack=False, may_quantize=False)
    found = _answers(name, model, "the model", feeds)
    return found, *_worst([session.run(call) for call in feeds], found, {})


def _answers(name: str, model: StoredModel, what: str, feeds: Sequence[Values]) -> list[Values]:
    """Return what another runtime makes of a model, which is given feeds of the original's widths."""
    run, left = open_oracle(name, model.inside(), what), interface_of(model.proto)
    return [run(fitted(call, left)) for call in feeds]


def _worst(one: Sequence[Values], other: Sequence[Values], masks: Mapping[Axis, BoolArray]) -> tuple[float, str]:
    """Return the largest relative difference of an output that holds numbers, and its name.

    Of the values in `one` that is left which masks keep.
    """
    names = [name for name, value in one[0].items() if value.dtype.kind in "fiub"]
    found = {
        name: (difference if one[0][name].dtype.kind == "f" else share_of_others)(
            [kept_of(call[name], masks_of(name, masks)) for call in one], [call[name] for call in other]
        )
        for name in names
    }
    worst = max(found, key=lambda name: found[name], default="")
    return found.get(worst, 0.0), worst
