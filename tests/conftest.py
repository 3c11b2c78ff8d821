"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A deadline per example is a timed assertion: it fails on a busy machine and says nothing about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
