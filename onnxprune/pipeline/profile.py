"""Timing the layers of a network, for budgets of latency."""

from onnxprune.analysis.inspect import inspect
from onnxprune.graph.loaded import load
from onnxprune.graph.storage.paths import check_outputs
from onnxprune.latency.device import Device, refuse_provider
from onnxprune.latency.package import pack
from onnxprune.latency.profile import profile_to
from onnxprune.latency.summary import profiled
from onnxprune.pipeline.config.base import given
from onnxprune.pipeline.config.jobs import ProfileConfig
from onnxprune.pipeline.events import NULL_LISTENER, Listener, Working
from onnxprune.values.results import Packed, Profiled


def profile(config: ProfileConfig, listener: Listener = NULL_LISTENER) -> Profiled | Packed:
    """Time a network and write the table, or write what does that on a device.

    Raises:
        InputError: bad input, no such provider, a network that cannot be timed, or a file that cannot be written.
    """
    written = {"the latency table": config.written} if config.pack is None else {"the packed file": config.pack}
    check_outputs(written, config.read({}))
    model = load(config.model, config.input_shape)
    analysis = inspect(model, allow=config.allow)
    if config.pack is not None:
        return Packed(config.pack, pack(model, analysis, config.pack))
    device = Device(config.threads, **given(provider=config.provider))
    refuse_provider(device)
    listener.hear(Working("Timing the network"))
    table = profile_to(config.written, model, analysis, device, listener.track)
    return profiled(table, analysis, config.written)
