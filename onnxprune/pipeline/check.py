"""Showing once more, in another place, that a file is what its plan makes of the original."""

import os
from dataclasses import replace
from pathlib import Path

from onnxprune.errors import VerificationError
from onnxprune.graph.checking import check_structure
from onnxprune.graph.storage.load import open_model
from onnxprune.graph.storage.paths import check_input
from onnxprune.graph.storage.stored import StoredModel
from onnxprune.pipeline.apply import open_plan
from onnxprune.pipeline.config.jobs import CheckConfig
from onnxprune.pipeline.events import NULL_LISTENER, Listener, Working
from onnxprune.pipeline.execution.cut import cut_and_verify, feeds_of
from onnxprune.pipeline.extra import no_extra
from onnxprune.pipeline.opening import open_replay
from onnxprune.pipeline.planned import Planned
from onnxprune.runtime import open_session
from onnxprune.values.checked import Checked
from onnxprune.verification.recovered import all_finite
from onnxprune.verification.same_cut import check_same_cut
from onnxprune.verification.second_opinion import confirm_written

NOWHERE = Path(os.devnull)


def check(config: CheckConfig, listener: Listener = NULL_LISTENER) -> Checked:
    """Cut the original by the plan, compare that with the masked original, and the file with that; nothing is written.

    Raises:
        InputError: bad input, or the plan is of another original.
        VerificationError: the cut is not the masked original, or the file is not the cut.
    """
    check_input(config.against)
    plan = open_plan(config.plan_read)
    with open_replay(config.replaying(plan, NOWHERE), plan, listener, no_extra) as run:
        pruned = cut_and_verify(run, Planned(plan, run.model.notes, replayed=True))
        listener.hear(Working("Comparing the file with the cut"))
        cut, found = StoredModel(pruned.cut.model, pruned.cut.weights), open_model(config.model)
        same = check_same_cut(cut, found, trained=bool(plan.recovery) or config.trained)
        check_structure(found.proto, cut.proto, weights=found.weights, original_weights=cut.weights)
        session = open_session(found.proto, found.weights, name=str(config.model), threads=config.threads)
        reference = open_session(cut.proto, cut.weights, name="the cut", threads=config.threads)
        for feeds in feeds_of(run):
            if not all_finite(session.run(feeds).values()) and all_finite(reference.run(feeds).values()):
                raise VerificationError(f"{config.model} computes values that are no numbers.", "recovery-failed")
        opinion = pruned.opinion
        if opinion is not None:
            worst = confirm_written(opinion.oracle, found, feeds_of(run), opinion.tolerance)
            opinion = replace(opinion, written=worst)
    return Checked(config.model, config.against, config.plan_read, pruned.equality, opinion, same.tensors, same.changed)
