"""What is known of the backend without loading it."""

from ferrum.backend import BackendInfo
from ferrum.dtypes import DTYPES

info = BackendInfo(
    summary="C kernels and OpenBLAS on the processor",
    abi=(1, 0),
    dtypes=tuple(sorted(dtype.name for dtype in DTYPES)),
    install="pip install ferrum-cpu (from a clone: pip install ./packages/ferrum-cpu)",
)
