"""What was tried before a plan was chosen, as people read it."""

from onnxprune.report import numbers
from onnxprune.report.blocks import Lines, Table
from onnxprune.values.amount import percent
from onnxprune.values.trials import Search, Trial


def search_lines(search: Search | None) -> Lines | None:
    """Return how many plans were tried, between which budgets, and what the chosen one lost; None: none was."""
    if search is None or not search.trials:
        return None
    macs = [trial.macs for trial in search.trials]
    chosen = search.chosen
    taken = "" if chosen is None else f"; the one taken leaves {percent(chosen.macs)} and {_lost(chosen)}"
    span = f"{percent(min(macs))} to {percent(max(macs))}" if len(macs) > 1 else percent(macs[0])
    samples = search.trials[0].quality.samples
    return Lines(
        (f"Tried: {numbers.many(len(macs), 'plan')} with {span} of the MACs, on {samples} held-out samples{taken}.",)
    )


def trials_table(search: Search | None) -> Table | None:
    """Return every plan that was tried, the fewest multiply-adds first."""
    if search is None:
        return None
    trials = sorted(search.trials, key=lambda trial: trial.macs)
    rows = tuple(
        (
            f"{percent(trial.macs)}{' (taken)' if trial.chosen else ''}",
            percent(trial.params),
            "-" if trial.quality.after is None else percent(trial.quality.after.top1),
            "-" if trial.quality.change is None else numbers.points(trial.quality.change),
            "-" if trial.quality.change_interval is None else numbers.point_span(trial.quality.change_interval),
            "-" if trial.quality.moved is None else percent(trial.quality.moved),
            {None: "-", True: "yes", False: "no"}[trial.holds],
        )
        for trial in trials
    )
    columns = ("MACs left", "params left", "top-1", "change", "95 % interval", "change of the outputs", "holds")
    return Table("Plans that were tried", columns, rows, frozenset({0, 1, 2, 3, 4, 5}))


def _lost(trial: Trial) -> str:
    quality = trial.quality
    if quality.change is None or quality.change_interval is None:
        return f"changes the outputs by {percent(quality.moved or 0.0)}"
    moved = "" if quality.moved is None else f" and the outputs by {percent(quality.moved)}"
    span = numbers.point_span(quality.change_interval)
    return f"changes top-1 there by {numbers.points(quality.change)} (95 % interval {span}){moved}"
