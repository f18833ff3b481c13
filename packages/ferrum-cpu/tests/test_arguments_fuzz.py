"""Every C function with arguments that nobody would give it: an error code, never a crash.

The functions and their arguments are found by their types, so that new ones are covered as they
come. What a kernel must be given is arrays, in whatever number, dtype, shape, layout and overlap;
a pointer that is no array's is beyond what C can check.
"""

import math
import os
import random
from collections import Counter
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest
from good_calls import RECIPES, Draw

from ferrum.backend import as_kernel
from ferrum.errors import FerrumError
from ferrum_cpu.kernels import KERNELS
from ferrum_cpu.library import ffi, isa, lib

SANITIZED = "FERRUM_SANITIZED" in os.environ
CALLS = 100_000 if SANITIZED else 1_000_000
KERNEL_CALLS = 20_000 if SANITIZED else 100_000

# They are given what the build or the loader knows, change what other tests rely on, or take
# addresses that are no arrays'.
SPARED = {"blas_load", "arrays_init", "isa_choose", "front_table", "normal_quantiles"}

ADDRESS = ("uintptr_t", "unsigned long")

DTYPES = ["?", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ml_dtypes.bfloat16]
FOREIGN = ["u2", "u4", "u8", "c8", "S3", "O", "M8[s]", ">f4", [("a", "f4"), ("b", "i8")]]
SHAPES = [(), (0,), (1,), (3,), (7, 5), (5, 7), (2, 0, 3), (3, 1, 4), (16, 33), (1, 1, 2, 1)]
NUMBERS = [0, 1, -1, 2, 3, -2, 7, 63, 64, 65, 255, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan]


def odd_arrays():
    """Return arrays of every dtype, shape and layout that could go wrong."""
    generator = np.random.default_rng(0)
    found = []
    for dtype in [*DTYPES, *FOREIGN]:
        for shape in SHAPES:
            count = math.prod(shape)
            if dtype in FOREIGN:
                found.append(np.zeros(shape, dtype))
                continue
            dense = (generator.standard_normal(count) * 4).astype(dtype).reshape(shape)
            wide = np.repeat(dense, 2, axis=-1) if shape else dense
            bytes_ = bytearray(dense.nbytes + 1)
            misaligned = np.frombuffer(bytes_, np.uint8)[1:].view(dtype).reshape(shape)
            found += [dense, dense.T, dense[::-1] if shape else dense, misaligned]
            if shape and count:
                found += [
                    wide[..., ::2],
                    np.broadcast_to(dense, (2, *shape)),
                    np.lib.stride_tricks.as_strided(dense, shape, (dense.itemsize,) * len(shape))
                    if sum(shape) - len(shape) < count
                    else dense,
                ]
    found.append(np.zeros((1,) * 64, "f4"))
    return found


class Fuzzer:
    """Draws arguments for C functions: by their types alone, or of a good call, and spoils some."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.draw = Draw(seed)
        self.arrays = odd_arrays()
        usual = [each for each in self.arrays if each.dtype in (np.float32, np.int64)]
        self.usual = usual

    def array(self):
        """Return an array: often of a usual dtype, so that calls get past the first check."""
        return self.random.choice(self.usual if self.random.random() < 0.5 else self.arrays)

    def operand(self):
        """Return what Python passes for an array, now and then nothing."""
        return None if self.random.random() < 0.05 else self.array()

    def arguments(self, types):
        """Return a list of arguments of these C types."""
        found = []
        listed = False
        for kind in types:
            name = kind.cname
            if kind.kind == "pointer":
                if kind.item.cname in ADDRESS:
                    found.append([self.operand() for _ in range(64)])
                    listed = True
                    continue
                found.append(ffi.new(name.replace(" *", "[64]").replace("const ", "")))
            elif name in ("double", "float"):
                found.append(self.random.choice(FLOATS))
            elif name in ADDRESS:
                found.append(self.operand())
            elif listed:  # how many there are in the list
                found.append(self.random.randint(-2, 8))
                listed = False
            else:
                found.append(self.whole(name))
        return found

    def nearly_good(self, name, types):
        """Return the arguments of a good call, of which at most three are spoilt.

        How many arrays a list has stays: one that is too short is beyond what C can check.
        """
        found = RECIPES[name](self.draw)
        wild = self.arguments(types)
        lists = [i for i, each in enumerate(found) if isinstance(each, list)]
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3))):
            place = self.random.randrange(len(found))
            if place in lists:
                inner = found[place]
                other = self.random.choice((self.operand(), self.random.choice(inner)))
                inner[self.random.randrange(len(inner))] = other
            elif place - 1 not in lists:
                # another argument of the call is as likely as anything: operands that overlap
                arrays = [each for each in found if isinstance(each, np.ndarray)]
                swap = types[place].cname in ADDRESS and arrays and self.random.random() < 0.5
                found[place] = self.random.choice(arrays) if swap else wild[place]
        return found

    def whole(self, name):
        """Return a whole number that the C type holds."""
        bits = 8 * ffi.sizeof(name)
        value = self.random.choice(NUMBERS)
        signed = int(ffi.cast(name, -1)) < 0
        return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1) if signed else value % 2**bits


def address(argument):
    """Return what C gets for an argument: the id of an array, 0 for none."""
    if isinstance(argument, list):
        return [address(each) for each in argument] + [0] * (64 - len(argument))
    if argument is None:
        return 0
    return id(argument) if isinstance(argument, np.ndarray) else argument


def functions():
    """Return the C functions that take arguments, with the types of those."""
    found = {}
    for name in dir(lib):
        if isinstance(getattr(lib, name), int):  # of an enum
            continue
        kind = ffi.typeof(getattr(lib, name))
        if kind.kind == "function" and kind.args and name not in SPARED:
            found[name] = (getattr(lib, name), kind.args)
    return found


def takes_arrays(kinds):
    """Return whether a function of these types takes arrays."""
    return any(getattr(kind, "item", kind).cname in ADDRESS for kind in kinds)


@pytest.mark.slow
def test_c_functions_survive_any_arguments(threads):
    known = functions()
    assert {name for name, (_, kinds) in known.items() if takes_arrays(kinds)} == {*RECIPES}
    fuzzer = Fuzzer(0)
    names = [*known]
    answers = {name: Counter() for name in names}
    for _ in range(CALLS):
        name = fuzzer.random.choice(names)
        function, kinds = known[name]
        if name in RECIPES and fuzzer.random.random() < 0.6:
            found = fuzzer.nearly_good(name, kinds)
        else:
            found = fuzzer.arguments(kinds)
        answers[name][function(*map(address, found))] += 1
    threads(2)
    lib.pool_set_limit(-1)
    assert lib.isa_choose(isa.encode())
    for name in RECIPES:
        found = answers[name]
        good = found[0]
        if name == "nonzero_chunks":  # it answers with a number, or less than 0
            good = found.total() - found[-1]
        assert 0.05 < good / found.total() < 0.98, f"{name} takes {good} of {found}"


OBJECTS = [None, "text", b"text", [], [1], {}, object(), 1, -1, 2**80, 1.5, math.nan, True, 1j]
ATTRIBUTES = [
    *NUMBERS,
    *FLOATS,
    *OBJECTS,
    (),
    (0,),
    (1, 0),
    (0, 0),
    (-1,),
    (2**62, 2**62),
    (3, 4),
    (0, 1, 2),
    (None,),
    (1, (0, 3, 2)),
    ((0, 2**62, 2**62),),
    ("a",),
]


@pytest.mark.slow
def test_kernels_survive_any_operands():
    """The same through Python, where kernels that check for themselves meet odd objects too."""
    checked = {
        name: kernel.function
        for name, found in KERNELS.items()
        if (kernel := as_kernel(found)).checked
    }
    fuzzer = Fuzzer(1)
    draw = fuzzer.random
    names = [*checked]
    for _ in range(KERNEL_CALLS):
        operands = [
            fuzzer.array() if draw.random() < 0.8 else draw.choice(OBJECTS)
            for _ in range(draw.choice((1, 2, 2, 3)))
        ]
        attrs = {}
        if draw.random() < 0.3:
            attrs[draw.choice(("axes", "shape", "key", "axis", "low"))] = draw.choice(ATTRIBUTES)
        # operands of the wrong number, attributes of the wrong name or beyond 64 bits
        with suppress(TypeError, OverflowError, FerrumError):
            checked[draw.choice(names)](*operands, **attrs)
