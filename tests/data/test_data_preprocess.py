"""The preprocessing value: validation, presets, JSON, and what it does to pixels."""

import json
from typing import Any

import numpy as np
import pytest
from refusals import refused

from onnxprune.data.image_input import image_input, to_feed
from onnxprune.errors import InputError
from onnxprune.values.interface import TensorSpec
from onnxprune.values.preprocess import PRESETS, Preprocess

NCHW = TensorSpec("image", (None, 3, 6, 5), "float32")
NHWC = TensorSpec("image", (None, 6, 5, 3), "float32")
GREY = TensorSpec("image", (None, 1, 6, 5), "float32")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("options", "thing"),
    [
        ({"std": (0.0,)}, "--std is 0.0"),
        ({"mean": ()}, "--mean is empty"),
        ({"mean": (float("nan"),)}, "--mean is nan"),
        ({"scale": 0.0}, "--scale is 0"),
        ({"resize": 0}, "--resize is 0"),
        ({"resize": (32,)}, "--resize"),
        ({"crop": (32, -1)}, "--crop"),
        ({"layout": "nwhc"}, "--layout is 'nwhc': choose from auto, nchw, nhwc"),
        ({"channel_order": "grb"}, "--channel-order is 'grb'"),
    ],
)
def test_bad_values_are_refused_by_option(options: dict[str, Any], thing: str) -> None:
    with refused("bad-value", thing):
        Preprocess(**options)


def test_json_round_trip() -> None:
    value = Preprocess((0.1, 0.2, 0.3), (2.0,), 1.0, (40, 32), 28, "nhwc", "bgr")
    assert Preprocess.from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize("change", [{"gamma": 1}, {"mean": 0.5}, {"std": ["a"]}, {"resize": [1, 2, 3]}])
def test_bad_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Preprocess.from_json(Preprocess().to_json() | change)


def test_missing_json_field_is_named() -> None:
    data = Preprocess().to_json()
    del data["crop"]
    with refused("unreadable-file", "crop"):
        Preprocess.from_json(data)


def test_preset_keeps_geometry_and_order() -> None:
    base = Preprocess(resize=40, crop=(32, 32), layout="nhwc", channel_order="bgr")
    preset = base.with_preset("imagenet")
    assert (preset.mean, preset.scale) == (PRESETS["imagenet"].mean, 1 / 255)
    assert (preset.resize, preset.crop, preset.layout, preset.channel_order) == (40, (32, 32), "nhwc", "bgr")
    with refused("unknown-name", "'resnet'", "imagenet, cifar10"):
        base.with_preset("resnet")


def test_normalisation_matches_the_formula() -> None:
    preprocess = Preprocess().with_preset("imagenet")
    feed = to_feed(PIXELS, image_input([NCHW], preprocess), preprocess)
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    expected = ((PIXELS / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert feed.dtype == np.float32
    assert feed.flags.c_contiguous
    np.testing.assert_allclose(feed, expected, rtol=0, atol=1e-6)


def test_symmetric_and_raw_ranges() -> None:
    extremes = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1)
    for name, low, high in (("symmetric", -1, 1), ("raw255", 0, 255), ("unit", 0, 1)):
        preprocess = Preprocess().with_preset(name)
        feed = to_feed(extremes, image_input([GREY], preprocess), preprocess)
        np.testing.assert_allclose(feed.ravel(), [low, high], rtol=0, atol=1e-6)


def test_channels_last_holds_the_same_numbers() -> None:
    preprocess = Preprocess().with_preset("cifar10")
    first = to_feed(PIXELS, image_input([NCHW], preprocess), preprocess)
    last = to_feed(PIXELS, image_input([NHWC], preprocess), preprocess)
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)


def test_bgr_reverses_after_mean_and_std_in_rgb_order() -> None:
    rgb = Preprocess().with_preset("imagenet")
    bgr = Preprocess(channel_order="bgr").with_preset("imagenet")
    plain, swapped = (to_feed(PIXELS, image_input([NCHW], p), p) for p in (rgb, bgr))
    np.testing.assert_array_equal(plain[:, ::-1], swapped)


def test_one_channel_takes_the_average_of_three_and_two_are_refused() -> None:
    mean, std = PRESETS["imagenet"].statistics(1)
    assert mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3], abs=1e-12)
    assert std == pytest.approx([(0.229 + 0.224 + 0.225) / 3], abs=1e-12)
    with refused("bad-value", "--mean", "2", "3 channels"):
        Preprocess(mean=(0.0, 0.0)).statistics(3)


def test_uint8_input_is_fed_pixels_as_they_are() -> None:
    spec = TensorSpec("image", (None, 6, 5, 3), "uint8")
    preprocess = Preprocess().with_preset("imagenet")
    feed = to_feed(PIXELS, image_input([spec], preprocess), preprocess)
    np.testing.assert_array_equal(feed, PIXELS)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((None, 3, 8, 9), "auto", (3, 8, 9, False)),
        ((1, 8, 9, 1), "auto", (1, 8, 9, True)),
        ((1, 3, 3, 3), "auto", (3, 3, 3, False)),
        ((1, 3, 3, 3), "nhwc", (3, 3, 3, True)),
        ((None, 4, None, None), "auto", (4, None, None, False)),
    ],
)
def test_layout_is_read_from_the_shape(
    shape: tuple[int | None, ...], layout: Any, expected: tuple[int | None, ...]
) -> None:
    found = image_input([TensorSpec("x", shape, "float32")], Preprocess(layout=layout))
    assert (found.channels, found.height, found.width, found.channels_last) == expected


@pytest.mark.parametrize("spec", [TensorSpec("x", (None, 40, 80), "float32"), TensorSpec("x", (1, 8, 9, 7), "int64")])
def test_inputs_that_take_no_images_are_sent_to_npz(spec: TensorSpec) -> None:
    with refused("data-mismatch", "'x'", ".npz"):
        image_input([spec], Preprocess())


def test_several_inputs_are_sent_to_npz() -> None:
    with refused("data-mismatch", "'image', 'image'", ".npz"):
        image_input([NCHW, NCHW], Preprocess())


def test_layout_option_that_contradicts_the_shape_is_refused() -> None:
    with refused("data-mismatch", "5 channels", "--layout nhwc"):
        image_input([NCHW], Preprocess(layout="nhwc"))
