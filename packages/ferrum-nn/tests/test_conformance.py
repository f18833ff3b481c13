from ferrum.testing import BackendConformance


class TestReference(BackendConformance):
    device = "reference"
    ops = ("nn.*",)
