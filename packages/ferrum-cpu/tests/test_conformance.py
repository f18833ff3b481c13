"""The conformance kit, whole, on every variant of the kernels."""

import pytest

from ferrum.testing import BackendConformance
from ferrum_cpu.library import ISAS, isa, lib


class TestCPU(BackendConformance):
    device = "cpu"


class Variant(BackendConformance):
    device = "cpu"
    variant = ""

    @pytest.fixture(autouse=True)
    def _choose(self):
        if not lib.isa_choose(self.variant.encode()):
            pytest.skip(f"this processor does not run {self.variant}")
        yield
        lib.isa_choose(isa.encode())


for _name in ISAS:
    if _name != isa:
        _class = type(f"Test_{_name}", (Variant,), {"variant": _name})
        globals()[_class.__name__] = pytest.mark.slow(_class)
del Variant
