"""A run in steps that was stopped goes on from its journal to the same bytes, and from no other."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from attrs import evolve
from folders import contents, names
from nets import analysed, net
from places import CONVNET, RESNET
from refusals import refused

import onnxprune
from onnxprune.errors import InputError, UnreachableError
from onnxprune.graph.storage.load import load_model
from onnxprune.graph.storage.staging import Staging
from onnxprune.pipeline import prune as pruning
from onnxprune.pipeline.config.jobs import PruneConfig
from onnxprune.pipeline.events import Event, NullListener, Resumed
from onnxprune.pipeline.planning.scoring import gather
from onnxprune.pipeline.prune import prune as run
from onnxprune.pipeline.state import Progress, State, open_state, read_state
from onnxprune.selection.budget import Budget
from onnxprune.selection.goal import Goal
from onnxprune.values.results import Result

GROUPS = analysed(
    net(
        """(float[n, 2, 6, 6] x) => (float[n, 3, 4, 4] y)
        <float[4, 2, 3, 3] w, float[5, 4, 1, 1] v, float[3, 5, 1, 1] u> {
            a = Conv(x, w) b = Conv(a, v) y = Conv(b, u)
        }"""
    )
).free
ONE = Progress({"a": np.array([True, False, True, True]), "b": np.ones(5, dtype=bool)}, (0.75,), (1,), ("a note",))


class Heard(NullListener):
    """Notes what is told."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events

    def hear(self, event: Event) -> None:
        self.events.append(event)


def same(one: Progress, other: Progress) -> bool:
    masks = {name: mask.tolist() for name, mask in one.keep.items()}
    return {name: mask.tolist() for name, mask in other.keep.items()} == masks and list(masks) == list(other.keep) and (
        (one.left, one.removed, one.notes) == (other.left, other.removed, other.notes)
    )  # fmt: skip


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.steps.json"
    assert [group.name for group in GROUPS] == ["a", "b"]
    journal = open_state(path, None, {"seed": 3, "macs": 0.1, "data": None}, GROUPS)
    assert journal.begun is None
    two = ONE.after({"b": np.array([1, 0, 1, 1, 0], dtype=bool), "a": ONE.keep["a"]}, 1 / 3, ["a note", "another"])
    assert (two.done, two.removed_channels, two.converged) == (2, 3, False)
    assert two.notes == ("a note", "another")
    for state in (ONE, two):
        journal.save(state)
        found = open_state(path, read_state(path, resume=True), dict(journal.run), GROUPS).begun
        assert found is not None
        assert same(found, state)
    assert [file.name for file in tmp_path.iterdir()] == ["a.steps.json"]
    journal.remove()
    journal.remove()
    assert not path.exists()


def test_a_step_that_removed_nothing_is_known_as_one() -> None:
    nothing = Progress({"a": np.ones(4, dtype=bool)})
    assert not nothing.converged
    assert nothing.after(nothing.keep, 1.0, ()).converged
    assert not ONE.converged
    assert ONE.after(ONE.keep, 0.75, ()).converged


def test_a_journal_of_another_run_is_refused_by_what_is_other(tmp_path: Path) -> None:
    path = tmp_path / "a.steps.json"
    State(path, {"seed": 3, "macs": 0.5}).save(ONE)
    content = read_state(path, resume=True)
    with pytest.raises(InputError) as caught:
        open_state(path, content, {"seed": 4, "params": "1M", "macs": 0.5}, GROUPS)
    assert str(caught.value) == (
        f"'{path}' is of another run (other params, seed); give what it was begun with, or remove it."
    )


def test_nothing_is_begun_anew_over_a_journal_and_nothing_is_resumed_without(tmp_path: Path) -> None:
    path = tmp_path / "a.steps.json"
    assert read_state(path, resume=False) is None
    with refused("nothing-to-resume", "a.steps.json"):
        read_state(path, resume=True)
    State(path, {}).save(ONE)
    with refused("already-there", "a.steps.json", "--resume"):
        read_state(path, resume=False)


def damaged() -> Iterator[tuple[str, Callable[[dict[str, Any]], object]]]:
    yield "format", lambda found: found.update(format=2)
    yield "format gone", lambda found: found.pop("format")
    yield "run", lambda found: found.update(run=[])
    yield "no masks", lambda found: found.pop("gone")
    yield "masks", lambda found: found.update(gone=[])
    yield "group", lambda found: found["gone"].pop("b")
    yield "more groups", lambda found: found["gone"].update(c=[])
    yield "channel", lambda found: found["gone"].update(b=[5])
    yield "negative", lambda found: found["gone"].update(b=[-1])
    yield "word", lambda found: found["gone"].update(b=["x"])
    yield "number", lambda found: found["gone"].update(b=3)
    yield "all", lambda found: found["gone"].update(b=[0, 1, 2, 3, 4])
    yield "sum", lambda found: found["gone"].update(b=[2])
    yield "no steps", lambda found: found.update(left=[], removed=[])
    yield "steps", lambda found: found.update(left=[0.75, 0.5])
    yield "share", lambda found: found.update(left=["x"])
    yield "removed", lambda found: found.update(removed=["x"])
    yield "falling", lambda found: found.update(left=[0.75, 0.75], removed=[2, 1])
    yield "notes", lambda found: found.update(notes=[1])
    yield "files", lambda found: found.update(files={"net.bin": 3})
    yield "no files", lambda found: found.update(files=[])
    yield "notes gone", lambda found: found.pop("notes")


@pytest.mark.parametrize("change", [change for _, change in damaged()], ids=[name for name, _ in damaged()])
def test_a_damaged_journal_is_one_sentence(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "a.steps.json"
    State(path, {}).save(ONE)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with refused("damaged-state", "a.steps.json"):
        open_state(path, read_state(path, resume=True), {}, GROUPS)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "3", "\udce4"])
def test_what_is_no_journal_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.steps.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with refused("damaged-state", "a.steps.json"):
        read_state(path, resume=True)


def settings(data: Path | None, output: Path, steps: int = 3, **more: Any) -> PruneConfig:
    plain = PruneConfig(CONVNET, data, output=output, method="catro", preprocess="unit", steps=steps, recovery="bias")
    goal = replace(plain.goal, budget=replace(plain.goal.budget, macs=0.1), round_to=1)
    return evolve(plain, **{"goal": goal, **more})


class Stopped(Exception):  # noqa: N818 it stands for the end of a process
    """The process ends here."""


def stopped(job: PruneConfig, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Run until a step is written down, and no further."""
    plain = State.save

    def last(journal: State, progress: Progress) -> None:
        plain(journal, progress)
        if progress.done == after:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", last)
        with pytest.raises(Stopped):
            run(job)
    assert job.journal is not None
    assert [path.name for path in job.journal.parent.iterdir()] == [job.journal.name]


def told(result: Result) -> tuple[Any, ...]:
    warnings = [warning for warning in result.warnings if "slower here" not in warning]  # as it was timed
    return result.plan, result.notes, warnings, result.quality, result.equality


OWN_RULE = {"method": "class-aware", "options": {"cap": 0.5, "threshold": 0.1}, "goal": Goal(Budget(alpha=1.0))}


@pytest.mark.parametrize(
    ("more", "stops"),
    [
        ({}, (1, 2, 3)),
        ({"model": RESNET, "recovery": "refit"}, (2,)),
        ({"recovery": "none", "method": "reconstruction"}, (1,)),
        ({"classes": ("1", "4", "7"), "trim_head": True}, (1,)),
        (OWN_RULE, (2,)),
    ],
    ids=["macs", "refit", "cut alone", "head", "threshold"],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], stops: tuple[int, ...]
) -> None:
    (tmp_path / "whole").mkdir()
    whole = run(settings(few, tmp_path / "whole" / "a.onnx", force=True, **more))
    seen: list[int] = []

    def noted(*args: Any, **options: Any) -> Any:
        seen.append(1)
        return gather(*args, **options)

    monkeypatch.setattr("onnxprune.pipeline.planning.steps.gather", noted)
    for after in stops:
        (tmp_path / f"{after}").mkdir()
        job = settings(few, tmp_path / f"{after}" / "a.onnx", force=True, **more)
        stopped(job, monkeypatch, after)
        with refused("already-there", "--resume"):
            run(job)
        seen.clear()
        said: list[Any] = []
        result = run(evolve(job, resume=True), Heard(said))
        assert len(seen) == 3 - after, "what is finished is not done again"
        assert Resumed(f"Going on after step {after} of 3.") in said
        assert contents(tmp_path / f"{after}") == contents(tmp_path / "whole")
        assert told(result) == told(whole)


def test_steps_that_remove_nothing_are_gone_on_from_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 8 channels 2 % a step remove nothing up to step 4, and nothing again in some later."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    goal = replace(settings(None, tmp_path).goal, budget=onnxprune.Budget(ratio=0.15), round_to=8)
    more: dict[str, Any] = {"model": RESNET, "method": "l1", "preprocess": None, "goal": goal}
    whole = run(settings(None, tmp_path / "whole" / "a.onnx", 8, **more))
    (note,) = [note for note in whole.notes if note.startswith("Chosen in 8 of 8 steps, which left ")]
    shares = note.removeprefix("Chosen in 8 of 8 steps, which left ").split(" %")[0:8]
    assert shares == ["100.0", ", 100.0", ", 100.0", ", 96.0", ", 84.0", ", 84.0", ", 64.9", ", 64.9"]
    for after in (1, 4, 6):
        job = settings(None, tmp_path / "parts" / "a.onnx", 8, **more)
        stopped(job, monkeypatch, after)
        assert run(evolve(job, resume=True)).notes == whole.notes
        assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
        for path in (tmp_path / "parts").iterdir():
            path.unlink()


def test_data_files_are_the_same_bytes(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in", "whole", "parts"):
        (tmp_path / name).mkdir()
    model = tmp_path / "in" / "net.onnx"
    onnx.save(onnx.load(RESNET), model, save_as_external_data=True, location="net.bin", size_threshold=0)
    run(settings(few, tmp_path / "whole" / "a.onnx", 2, model=model))
    job = settings(few, tmp_path / "parts" / "a.onnx", 2, model=model)
    stopped(job, monkeypatch, 1)
    run(evolve(job, resume=True))
    assert set(contents(tmp_path / "whole")) == {"a.onnx", "a.plan.json", "net.bin"}
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def with_data_file(folder: Path) -> Path:
    folder.mkdir()
    onnx.save(onnx.load(CONVNET), folder / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    return folder / "net.onnx"


def test_a_run_that_was_stopped_while_it_put_its_files_in_place_goes_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data file is there and no model that refers to it, so it looks like somebody else's."""
    model = with_data_file(tmp_path / "in")
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    run(settings(few, tmp_path / "whole" / "a.onnx", 2, model=model))
    job = settings(few, tmp_path / "parts" / "a.onnx", 2, model=model)
    plain = Staging._put

    def last(staging: Staging, file: Path, target: Path) -> None:
        if target == job.output:
            raise Stopped
        plain(staging, file, target)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "_put", last)
        patch.setattr(Staging, "_undo", lambda _: None)
        with pytest.raises(Stopped):
            run(job)
    assert set(contents(tmp_path / "parts")) == {"a.plan.json", "a.steps.json", "net.bin"}
    run(evolve(job, resume=True))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_no_model_ever_reads_the_weights_of_another(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever moment a process is killed at while it replaces a result that has data files."""
    model = with_data_file(tmp_path / "in")
    (tmp_path / "out").mkdir()
    plain = settings(few, tmp_path / "out" / "a.onnx", 1, model=model)
    job = evolve(plain, method="l1", recovery="none")
    wider = replace(job.goal, budget=onnxprune.Budget(macs=0.5))
    old = run(evolve(job, goal=wider))
    moments: list[bytes] = []
    put = Staging._put

    def read() -> bytes:
        return load_model(tmp_path / "out" / "a.onnx").SerializeToString(deterministic=True)

    def seen(staging: Staging, file: Path, target: Path) -> None:
        put(staging, file, target)
        moments.append(read())

    older = read()
    monkeypatch.setattr(Staging, "_put", seen)
    new = run(job)
    assert moments == [older, older, read()]
    assert older != read()
    assert old.plan != new.plan
    before = contents(tmp_path / "out")
    moments.clear()

    def fails(staging: Staging, file: Path, target: Path) -> None:
        if target.name == "net.bin":
            raise Stopped
        put(staging, file, target)

    monkeypatch.setattr(Staging, "_put", fails)
    with pytest.raises(Stopped):
        run(evolve(job, goal=wider))
    assert contents(tmp_path / "out") == before, "what fails is undone"


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"seed": 1}, "data, seed"),
        ({"holdout": 0.5}, "data"),
        ({"preprocess": "raw255"}, "data, preprocessing"),
        ({"method": "entropy"}, "method, method settings"),
        ({"recovery": "fold"}, "recovery"),
        ({"threads": 1}, "threads"),
        ({"batch_size": 7}, "batch_size"),
        ({"steps": 4}, "steps"),
        ({"allow": "approximate"}, "allowed"),
        ({"classes": ("1", "2", "3")}, "classes, data, samples of other classes"),
        ({"model": RESNET}, "model"),
        ({"goal": Goal(Budget(ratio=0.5))}, "macs, ratio, round_to"),
    ],
)
def test_another_run_does_not_go_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], other: str
) -> None:
    job = settings(few, tmp_path / "a.onnx")
    stopped(job, monkeypatch, 1)
    before = contents(tmp_path)
    monkeypatch.setattr(
        "onnxprune.pipeline.planning.steps.gather", lambda *args, **more: pytest.fail("statistics were taken")
    )
    with refused("other-run", f"(other {other})"):
        run(evolve(job, resume=True, **change))
    assert contents(tmp_path) == before


def test_a_refusal_at_the_end_leaves_the_steps_for_other_limits(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = replace(settings(None, tmp_path).goal, budget=onnxprune.Budget(macs=0.02))
    job = settings(few, tmp_path / "a.onnx", goal=goal, method="random", recovery="none", max_class_drop=0.0)
    with refused("loss-too-high", "nothing was written", "a.steps.json", "--resume"):
        run(job)
    assert set(contents(tmp_path)) == {"a.steps.json"}
    monkeypatch.setattr(
        "onnxprune.pipeline.planning.steps.gather", lambda *args, **more: pytest.fail("statistics were taken")
    )
    run(evolve(job, resume=True, max_class_drop=None))
    assert set(contents(tmp_path)) == {"a.onnx", "a.plan.json"}


def test_a_refusal_while_choosing_leaves_nothing(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_groups(*_: Any) -> None:
        raise UnreachableError("The cut network has other channel groups", "other-groups")

    with monkeypatch.context() as patch:
        patch.setattr("onnxprune.pipeline.planning.steps.origins_of", other_groups)
        with refused("other-groups"):
            run(settings(few, tmp_path / "a.onnx"))
    assert not names(tmp_path)
    goal = replace(settings(None, tmp_path).goal, budget=onnxprune.Budget(macs=1.0))
    with refused("nothing-to-prune"):
        run(settings(few, tmp_path / "a.onnx", goal=goal))
    assert not names(tmp_path)


def test_a_dry_run_goes_on_as_well_and_its_journal_is_that_of_the_whole_run(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    job = settings(few, tmp_path / "out" / "a.onnx", 2)
    stopped(evolve(job, dry_run=True), monkeypatch, 1)
    run(evolve(job, dry_run=True, resume=True))
    assert set(contents(tmp_path / "out")) == {"a.plan.json"}
    stopped_again = evolve(job, output=tmp_path / "b.onnx", dry_run=True)
    monkeypatch.setattr(pruning, "write_plan", lambda *_: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        run(stopped_again)
    monkeypatch.undo()
    run(evolve(stopped_again, dry_run=False, resume=True))
    done, dry = (json.loads(path.read_text()) for path in (tmp_path / "b.plan.json", tmp_path / "out" / "a.plan.json"))
    # What was carried out is not what was wished for where the samples that judge find the cut no worse.
    assert {**done, "recovery": {}, "proof": ""} == {**dry, "recovery": {}}
    assert not (tmp_path / "b.steps.json").exists()


def test_resuming_takes_several_steps(tmp_path: Path) -> None:
    with refused("missing-option", "--resume", "--steps"):
        run(settings(None, tmp_path / "a.onnx", 1, resume=True))
    with refused("nothing-to-resume", "a.steps.json"):
        run(settings(None, tmp_path / "a.onnx", 2, resume=True))


def test_the_journal_overwrites_nothing_that_is_read(few: Path, tmp_path: Path) -> None:
    labels = tmp_path / "a.steps.json"
    labels.write_text("\n".join(map(str, range(10))))
    with refused("already-there", "a.steps.json"):
        run(settings(few, tmp_path / "a.onnx", labels=labels))
    with refused("damaged-state", "a.steps.json"):
        run(settings(few, tmp_path / "a.onnx", labels=labels, resume=True))


def test_a_search_has_no_steps_to_go_on_with(few: Path, tmp_path: Path) -> None:
    with refused("missing-option", "--resume", "budget"):
        run(evolve(settings(few, tmp_path / "a.onnx"), goal=Goal(), resume=True))
