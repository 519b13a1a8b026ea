import json
from pathlib import Path

import pytest
from nets import net
from places import RESNET
from program import call, save


def test_it_lists_groups_reasons_and_totals() -> None:
    ended = call("inspect", RESNET)
    assert ended.code == 0
    assert ended.stderr == ""
    assert "/stage2/stage2.0/shortcut_conv/Conv_output_0, /stage2/stage2.1/conv2/Conv_output_0" in ended.stdout
    assert "logits (10 channels): logits:1 is part of the graph output 'logits'" in ended.stdout
    for total in ("params", "MACs", "file size", "prunable channels"):
        assert total in ended.stdout


def test_json_holds_every_group() -> None:
    found = json.loads(call("inspect", RESNET, "--json").stdout)
    assert found["prunable_channels"] == 400
    assert found["size"] == RESNET.stat().st_size
    by_name = {group["name"]: group for group in found["groups"]}
    assert by_name["logits"]["state"] == "frozen"
    assert by_name["logits"]["reason"]
    stem = by_name["/stem_conv/Conv_output_0"]
    assert (stem["size"], stem["state"], stem["reason"]) == (32, "prunable", None)
    assert stem["layers"] == ["/stem_conv/Conv_output_0", "/stage1/stage1.0/conv2/Conv_output_0"]
    # stem and both convolutions of stage 1, whose other widths are the same group's or the image's
    assert stem["macs_share"] == pytest.approx((18432 + 589824 * 2 + 221184 + 24576) / 3005056)


def test_verbose_names_every_axis() -> None:
    stdout = call("inspect", RESNET, "-v").stdout
    assert "stem_bn.running_var:0" in stdout


def test_explain_walks_to_the_reason(tmp_path: Path) -> None:
    model = net(
        "(float[N,1,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] w> { a = Conv<pads=[1,1,1,1]>(x, w) y = Relu(a) }"
    )
    path = save(model, tmp_path / "net.onnx")
    ended = call("inspect", path, "--explain", "w:0")
    assert ended.code == 0
    assert "w:0 (4 channels, 4 of them frozen) is frozen: y:1 is part of the graph output 'y'." in ended.stdout
    assert "a:1 -> Relu (node 1) -> y:1" in ended.stdout
    found = json.loads(call("inspect", path, "--explain", "w:0", "--json").stdout)
    assert found["chain"][-1]["target"] == "y:1"


def test_explain_shows_what_is_coupled() -> None:
    stdout = call("inspect", RESNET, "--explain", "/stem_conv/Conv_output_0:1").stdout
    assert "is free to be pruned" in stdout
    assert "Goes together with /stage1/stage1.0/conv2/Conv_output_0" in stdout
    assert "Add 'stage1/stage1.0/Add'" in stdout


def test_explain_says_when_nothing_reaches_an_axis() -> None:
    assert "no prunable layer" in call("inspect", RESNET, "--explain", "image:2").stdout


@pytest.mark.parametrize(
    ("axis", "part"), [("imag:1", "did you mean 'image'"), ("image:9", "no axis 9"), ("image", "TENSOR:AXIS")]
)
def test_axes_that_are_none(axis: str, part: str) -> None:
    ended = call("inspect", RESNET, "--explain", axis)
    assert ended.code == 2
    assert part in ended.sentence
    assert ended.stdout == ""


def test_names_are_split_at_the_last_colon_and_shown_as_they_are(tmp_path: Path) -> None:
    model = net(
        """(float[N,1,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] w, float[4,4,1,1] v>
        { a = Conv<pads=[1,1,1,1]>(x, w) y = Conv(a, v) }"""
    )
    for node in model.graph.node:
        node.input[:] = ["[bold]a:0" if name == "a" else name for name in node.input]
        node.output[:] = ["[bold]a:0" if name == "a" else name for name in node.output]
    path = save(model, tmp_path / "net.onnx")
    assert "[bold]a:0" in call("inspect", path).stdout
    assert "[bold]a:0:1 (4 channels) is free" in call("inspect", path, "--explain", "[bold]a:0:1").stdout
