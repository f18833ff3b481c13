"""The conformance kit, whole, on every variant of the kernels."""

import pytest

from ferrum.operation import OPS
from ferrum.testing import BackendConformance, cases
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


def test_every_gradient_is_differentiated_again():
    """The gradient of each op, of ferrum-nn too, is itself checked on this device."""
    asked = {case.op.name for case in cases("cpu", aspects=["second"])}
    ours = [op for name, op in OPS.items() if name.startswith(("core.", "nn."))]
    made_of_tensors = [op for op in ours if op.differentiable and op.inputs]
    assert len(made_of_tensors) > 150
    assert [op.name for op in made_of_tensors if op.name not in asked] == []
