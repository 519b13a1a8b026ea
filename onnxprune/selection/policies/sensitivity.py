"""As `loss`, by what was measured: how far the outputs move when a group alone loses channels."""

from onnxprune.selection.policies.loss import choose
from onnxprune.selection.policy import Policy, register

register(Policy("sensitivity", "as loss, by the measured change of the outputs", "measured", choose))
