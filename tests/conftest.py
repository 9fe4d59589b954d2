"""Properties are judged by what they find, never by how fast a busy machine finds it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("tickershard", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tickershard")
