"""The benchmarks of training run end to end on a net of one block a stage and a few images."""

import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

from benchmarks import compression, retraining_study, training_step, vs_torch_pruning  # noqa: E402
from benchmarks.torch_nets import NETS, Shape  # noqa: E402
from benchmarks.torch_resnet import ResNet, load_resnet  # noqa: E402
from onnxprune import load  # noqa: E402
from onnxprune.finetune.interpreter.module import GraphModule  # noqa: E402

NET = "cifar10_resnet8_bn"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the shared one: a small net with its normalisations, and images of ten classes."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "models").mkdir()
    (folder / "data").mkdir()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = ResNet(1).eval()
    for name, value in net.state_dict().items():
        if "bn" in name and value.ndim:  # equal tensors would be stored once, under one name
            value.copy_(0.5 + torch.rand(value.shape))
    onnx.save(compression.exported(net), folder / "models" / f"{NET}.onnx")
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "data" / "cifar10_jpeg.zip", "w") as archive:
        for split, count in (("train", 6), ("test", 2)):
            for label in range(10):
                for number in range(count):
                    pixels = rng.integers(0, 80, (32, 32, 3), dtype=np.uint8)
                    pixels[:, 3 * label : 3 * label + 3] += 150
                    content = io.BytesIO()
                    Image.fromarray(pixels).save(content, "JPEG", quality=95)
                    archive.writestr(f"cifar10/{split}/class{label}/{number}.jpg", content.getvalue())
    return folder


def test_the_module_by_hand_is_the_file(shared: Path) -> None:
    path = shared / "models" / f"{NET}.onnx"
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        one, other = load_resnet(path).eval()(images), GraphModule(load(path).graph).eval()(images)
    np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


def test_steps_are_timed_side_by_side(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    args = [str(shared), "--nets", f"{NET},absent", "--batch", "4", "--repeats", "2", "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["training_step", *args, "--page", str(page)])
    monkeypatch.setattr(training_step, "limit_threads", lambda count: None)
    training_step.main()
    (row,) = [line for line in page.read_text().splitlines() if line.startswith(f"| {NET}")]
    assert float(row.split("|")[4]) > 0


def test_modules_that_differ_are_not_timed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_step, "load_resnet", lambda path: ResNet(1))
    with pytest.raises(SystemExit, match="the losses differ"):
        training_step.measure(shared / "models" / f"{NET}.onnx", 4, 1, torch.device("cpu"))


def test_pruned_nets_are_trained_alike(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed (pip install --no-deps torch-pruning)")
    page = tmp_path / "page.md"
    args = [str(shared), "--cache", str(tmp_path / "cache"), "--net", NET, "--methods", "l1", "--macs", "60%"]
    monkeypatch.setattr("sys.argv", ["vs", *args, "--teach", "--epochs", "1", "--images", "60", "--page", str(page)])
    vs_torch_pruning.main()
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert [row[0].strip() for row in rows] == [
        "onnxprune, l1", "onnxprune, l1 + teacher", "Torch-Pruning, group L1", "Torch-Pruning, group L1 + teacher"
    ]  # fmt: skip
    assert all(float(row[1]) <= 60 for row in rows)


def test_each_part_is_trained_apart(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    args = [str(shared), "--cache", str(tmp_path / "cache"), "--nets", NET, "--methods", "l1", "--macs", "60%"]
    monkeypatch.setattr("sys.argv", ["study", *args, "--epochs", "1", "--images", "60", "--page", str(page)])
    retraining_study.main()
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("| l1")]
    assert [row[1].strip() for row in rows] == ["none", "refit"]
    assert all(0 <= float(cell) <= 100 for row in rows for cell in row[2:])
    assert len(rows[0]) == 7


def test_a_net_is_compressed_to_a_share_of_its_parameters(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(compression, "NETS", {"tiny": Shape(lambda: ResNet(1), 0.05)})
    args = [
        str(shared),
        "--cache",
        str(tmp_path / "cache"),
        "--jobs",
        f"tiny:entropy:40%,{NET}:l1:20%",
        "--device",
        "cpu",
    ]
    short = ["--epochs", "1", "--retrain", "1", "--images", "60"]
    monkeypatch.setattr("sys.argv", ["compression", *args, *short, "--page", str(page)])
    compression.main()
    row, given = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert [cell.strip() for cell in row[:2]] == ["tiny", "entropy"]
    images, epochs, gone, *shares = (float(cell) for cell in row[2:])
    assert (images, epochs) == (60, 1)
    assert 40 <= gone < 60
    assert all(0 <= share <= 100 for share in shares)
    assert len(row) == 12
    assert [cell.strip() for cell in given[:4]] == [NET, "l1", "60", "-"]


@pytest.mark.parametrize(("name", "millions"), [("alexnet", 23.2), ("vgg16", 15.0), ("resnet50", 23.5)])
def test_nets_have_the_sizes_that_their_names_promise(name: str, millions: float) -> None:
    net = NETS[name].make().eval()
    assert sum(value.numel() for value in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
