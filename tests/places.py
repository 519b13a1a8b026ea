"""Where the repository keeps what tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SAMPLES = ROOT / "sample_models"
RESNET, CONVNET = SAMPLES / "digits_resnet.onnx", SAMPLES / "digits_convnet.onnx"
CALIB, TEST = SAMPLES / "calib", SAMPLES / "test"
