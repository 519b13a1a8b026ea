"""Settings that all tests share: hypothesis draws the same examples every time and never complains of slow ones."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "onnxprune", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("onnxprune")
