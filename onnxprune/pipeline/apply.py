"""Applying a plan that was made before."""

from pathlib import Path

from onnxprune.errors import InputError
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.events import NULL_LISTENER, Listener
from onnxprune.pipeline.extra import Extra, no_extra
from onnxprune.pipeline.opening import open_replay
from onnxprune.pipeline.planned import Planned
from onnxprune.pipeline.prune import carry_out
from onnxprune.values.ordinary_file import read_text
from onnxprune.values.plan import Plan, read_plan
from onnxprune.values.results import Result


def apply_plan(config: PruneConfig, plan: Plan, listener: Listener = NULL_LISTENER, extra: Extra = no_extra) -> Result:
    """Apply a plan to its model: cut, verify, recover and measure where there is data, write.

    Args:
        config: what to do, and how; what the plan says of classes and approximate groups goes before it.
        plan: what goes.
        listener: hears what is done.
        extra: makes of the result what else is to be written, by path.

    Raises:
        InputError: the plan is for another model, or its classes are not those of the data; else as `prune`.
    """
    with open_replay(config, plan, listener, extra) as run:
        return carry_out(run, Planned(plan, run.model.notes, replayed=True))


def open_plan(path: Path) -> Plan:
    """Read a plan file.

    Raises:
        InputError: it cannot be read, or is no plan that this version understands.
    """
    try:
        return read_plan(read_text(path), str(path))
    except FileNotFoundError:
        raise InputError(f"No such plan: {path}; make one with --dry-run.", "missing-file") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); make a plan with --dry-run.", "unreadable-file"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a plan; make one with --dry-run.", "unreadable-file") from None
