"""What the kernels are written in."""

import numpy as np

from ferrum import reference
from ferrum.backend import Kernel
from ferrum.operation import OPS
from ferrum.plugins import load_ops
from ferrum_cpu import _front, kernels
from ferrum_cpu.kernels import KERNELS, language


def test_what_is_numpy_is_not_called_c(monkeypatch):
    for function in (np.add, np.where, np.arange, *reference.KERNELS.values()):
        monkeypatch.setattr(kernels, "KERNELS", {"core.add": function})
        assert language("core.add") == "NumPy"
    monkeypatch.setattr(kernels, "KERNELS", {"core.add": Kernel(_front.matmul)})
    assert language("core.add") == "C"
    assert language("core.subtract") == "decomposed"


def test_functions_in_python_that_count_as_c_call_c():
    for name in KERNELS:
        function = getattr(KERNELS[name], "function", None)
        if language(name) == "C" and hasattr(function, "__code__"):
            called = function.__globals__.keys() & {"lib", "_front"}
            assert called, f"{name} is made of {function}, which knows no C"


def test_at_least_60_ops_are_in_c_beside_their_in_place_forms():
    assert not load_ops()
    names = [op.name for op in OPS.values() if not hasattr(op, "twin")]
    written = [name for name in names if language(name) == "C"]
    assert len(written) >= 60
    assert {"core.add", "core.matmul", "core.sum", "core.copy", "nn.adam_step"} <= {*written}


def test_every_kernel_is_of_an_op():
    load_ops()
    assert not KERNELS.keys() - OPS.keys()
