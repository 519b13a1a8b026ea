"""Libraries of custom operators are loaded where they are named, and nowhere else."""

import json
from pathlib import Path

import onnx
import pytest
from nets import CLASSIFIER, net, save_samples
from program import call, refused, save

from onnxprune.runtime.custom_ops import custom_ops
from onnxprune.runtime.session import open_session

extensions = pytest.importorskip("onnxruntime_extensions")
LIBRARY = extensions.get_library_path()

CUT = ("--method", "l1", "--ratio", "50%", "--round-to", "1")

TEXT = CLASSIFIER.replace("e = Relu(d)", "less, more = ai.onnx.contrib.NegPos(d) e = Sub(more, less)")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    found = net(TEXT)
    found.opset_import.add(domain="ai.onnx.contrib", version=1)
    return save(found, tmp_path / "net.onnx")


def cut(model: Path, *more: object) -> tuple[object, ...]:
    data = save_samples(model.with_name("samples.npz"), 40, 3, 8, 8)
    return (model, "--data", data, *CUT, "-o", model.parent / "a.onnx", *more)


def test_a_model_is_cut_and_measured_with_its_operators(model: Path) -> None:
    ended = call(*cut(model, "--custom-ops", LIBRARY, "--json", "--force"))
    assert ended.code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert f"Operators of {LIBRARY} were loaded, so its code ran." in found["notes"]
    assert {name: group["kept"] for name, group in found["groups"].items()} == {"c": 8}
    assert found["verification"]["status"] == "equal"
    again = call(
        "apply", model, model.parent / "a.plan.json", "--custom-ops", LIBRARY, "-o", model.parent / "b.onnx", "-q"
    )
    assert again.code == 0, again.stderr
    onnx.load(model.parent / "b.onnx")


def test_without_it_no_library_is_loaded(model: Path) -> None:
    refused(call(*cut(model, "-q")), "onnxruntime cannot load", "NegPos")


def test_it_is_in_use_inside_alone(model: Path) -> None:
    proto = onnx.load(model)
    with custom_ops([Path(LIBRARY)]):
        open_session(proto)
    with pytest.raises(Exception, match="NegPos"):
        open_session(proto)


@pytest.mark.parametrize("kind", ["missing", "text", "model"])
def test_what_is_no_library(model: Path, kind: str) -> None:
    library = model.with_name("lib.so")
    if kind != "missing":
        library.write_bytes(b"text" if kind == "text" else model.read_bytes())
    refused(call(*cut(model, "--custom-ops", library, "-q")), f"--custom-ops {library}")


def test_a_configuration_file_names_no_code(model: Path) -> None:
    file = model.with_name("job.toml")
    file.write_text(f'custom-ops = "{LIBRARY}"\n')
    refused(call(*cut(model, "--config", file, "-q")), "custom-ops", "on the command line alone")


def test_layers_are_not_timed_one_by_one_with_it(model: Path) -> None:
    refused(call(*cut(model, "--custom-ops", LIBRARY, "--latency", "80%", "-q")), "does not go with --custom-ops")
