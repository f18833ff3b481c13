"""The kit against the device that it takes its answers from, and the kit's own parts."""

from ferrum.testing import BackendConformance


class TestReference(BackendConformance):
    device = "reference"
    ops = ("core.*",)
