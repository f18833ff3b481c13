"""More than 2**31 elements, and byte offsets beyond 2**31: at most 4.2 GiB."""

import os

import pytest

import ferrum as fe
import ferrum_cpu

N = 2**31 + 16
FAR = N - 3
MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MEMORY < 8 << 30, reason="needs a machine of 8 GiB"),
]


@pytest.fixture(autouse=True)
def _nothing_kept():
    yield
    ferrum_cpu.empty_cache()


def test_one_element_far_out_is_found():
    x = fe.zeros(N, dtype=fe.int8)
    x[FAR] = 7
    assert x.sum().item() == 7
    assert x.argmax().item() == FAR
    places = fe.tensor([2**31, FAR, 0])
    assert x[places].tolist() == x.gather(0, places).tolist() == [0, 7, 0]
    assert x[1::2][(FAR - 1) // 2].item() == 7
    assert x[2**31 - 2 :].nonzero().tolist() == [[FAR - 2**31 + 2]]
    table = x[16:].reshape(2**15, 2**16).t()
    assert table.amax(1).nonzero().tolist() == [[2**16 - 3]]
    assert table[-3, -1].item() == 7
    equal = x == 7
    assert equal.sum().item() == 1
    x[: 2**30].copy_(x[2**30 + 16 :])
    assert x[FAR - 2**30 - 16].item() == 7


def test_expanded_ones_are_summed_where_they_are():
    ones = fe.ones(1, dtype=fe.int8).expand(2**31 + 10)
    assert ones.sum().item() == 2**31 + 10
    assert fe.ones(1, dtype=fe.float64).expand(2**31 + 10).mean().item() == 1
