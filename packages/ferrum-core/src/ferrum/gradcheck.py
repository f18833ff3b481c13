"""Gradients held against finite differences: `gradcheck` and `gradgradcheck`.

Both work out whole Jacobians, once by moving every element of every input a little to both sides,
once by walking the graph from every element of every output, and compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum import ops
from ferrum.autograd import grad
from ferrum.dtypes import float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, GradcheckError, OperandError
from ferrum.inplace import check_writable
from ferrum.mode import current, enable_grad, no_grad
from ferrum.operands import flat
from ferrum.random import Generator
from ferrum.tensor import Tensor

# Row i, column j: how element j of an output changes with element i of an input.
Jacobian: TypeAlias = npt.NDArray[np.float64]
Tensors: TypeAlias = "Tensor | Sequence[Tensor]"


def gradcheck(
    func: Callable[..., Tensors],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
) -> bool:
    """Return True if the gradients of `func(*inputs)` agree with central differences.

    Every input that requires grad, which must be float64, is moved by `eps` to both sides, element
    by element; |analytical - numerical| <= atol + rtol * |numerical| must hold for every output
    that requires grad. Also checked: the shapes, dtypes and devices of the gradients; that backward
    gives the same numbers twice, up to `nondet_tol`; that it is linear in the gradients of the
    outputs; and, with `check_undefined_grad`, that it takes None for outputs that have none.

    Raises GradcheckError, whose text shows both Jacobians; or returns False, if `raise_exception`
    is False.
    """
    check = _Check(func, inputs, eps, atol, rtol, nondet_tol, check_undefined_grad)
    try:
        with enable_grad():
            check.run()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Tensors],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
) -> bool:
    """Return True if the second gradients of `func(*inputs)` agree with central differences.

    The function that is checked maps the inputs and `grad_outputs` to the gradients of the inputs.
    Where `grad_outputs` is None, fixed random numbers from [-1, 1) stand for them, transposed in
    memory with `gen_non_contig_grad_outputs`. The rest is as in `gradcheck`.
    """
    if not callable(func):
        raise OperandError(f"gradgradcheck: expected a function, got {type(func).__name__}")
    args = _listed(inputs)
    wanted = [i for i, x in enumerate(flat(args)) if _counts(x)]
    with enable_grad():
        outputs = [out for out in _outputs_of(func(*args)) if _counts(out)]
    if grad_outputs is None:
        seeds = _random_like(outputs, gen_non_contig_grad_outputs)
    else:
        seeds = _listed(grad_outputs)

    def gradients(*operands: Any) -> tuple[Tensor, ...]:
        listed, given = operands[: len(args)], operands[len(args) :]
        outs = [out for out in _outputs_of(func(*listed)) if _counts(out)]
        xs = [flat(listed)[i] for i in wanted]
        found = grad(outs, xs, given, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        gradients,
        (*args, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
    )


def _listed(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]


def _counts(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _outputs_of(result: Any) -> list[Tensor]:
    outputs = _listed(result)
    for out in outputs:
        if not isinstance(out, Tensor):
            kind = type(out).__name__
            raise OperandError(f"gradcheck: expected func to return tensors, got {kind}")
    return outputs


def _random_like(outputs: list[Tensor], transposed: bool) -> list[Tensor]:
    """Return leaves of the outputs' shapes, the same at every call."""
    generator = Generator(0)
    seeds = []
    for out in outputs:
        shape = out.shape[::-1] if transposed else out.shape
        key = generator.next_key()
        draws = ops.uniform(shape=shape, dtype=out.dtype, key=key, device=out.device) * 2 - 1
        seeds.append((draws.T if transposed else draws).requires_grad_())
    return seeds


class _Check:
    """One gradcheck: what is checked, and how closely."""

    def __init__(
        self,
        func: Callable[..., Tensors],
        inputs: Any,
        eps: float,
        atol: float,
        rtol: float,
        nondet_tol: float,
        undefined: bool,
    ) -> None:
        if not callable(func):
            raise OperandError(f"gradcheck: expected a function, got {type(func).__name__}")
        self.func = func
        self.args = _listed(inputs)
        self.eps, self.atol, self.rtol, self.nondet_tol = eps, atol, rtol, nondet_tol
        self.undefined = undefined
        self.wanted = {i: x for i, x in enumerate(flat(self.args)) if _counts(x)}
        if not self.wanted:
            raise ArgumentError("gradcheck: expected at least one input that requires grad")
        for i, x in self.wanted.items():
            if x.dtype is not float64:
                raise DTypeError(
                    f"gradcheck: input {i} is {x.dtype.name}, too coarse for finite differences; "
                    f"expected float64: pass x.double()"
                )
            with no_grad():
                check_writable(f"gradcheck: input {i}", x, current())

    def run(self) -> None:
        """Raise GradcheckError if anything is wrong."""
        numerical = self.numerical()
        outputs = self.outputs()
        roots = {j: out for j, out in enumerate(outputs) if out.requires_grad}
        if not roots:
            self.check_flat(numerical)
            return
        self.check_zero(roots)
        rows = {j: self.analytical(roots, j) for j in roots}
        for j, jacobians in rows.items():
            for i, jacobian in jacobians.items():
                self.compare(numerical[i][j], jacobian, i, j, outputs[j])
        self.check_linear(roots, rows)

    def outputs(self) -> list[Tensor]:
        """Return what `func` returns, as far as it is made of floating-point numbers."""
        return [out for out in _outputs_of(self.func(*self.args)) if is_floating(out.dtype)]

    # ---- finite differences

    def numerical(self) -> dict[int, list[Jacobian]]:
        """Return the Jacobians by input and output."""
        return {i: self.differences(x) for i, x in self.wanted.items()}

    def differences(self, x: Tensor) -> list[Jacobian]:
        """Return the Jacobian of each output by `x`, whose elements are moved in place."""
        jacobians = [np.zeros((x.numel(), out.numel())) for out in self.outputs()]
        start = x.detach().numpy().copy()
        for row, (key, value) in enumerate(np.ndenumerate(start)):
            up, down = self.moved(x, key, value)
            for jacobian, high, low in zip(jacobians, up, down, strict=True):
                with np.errstate(all="ignore"):  # inf - inf fails the comparison, which says more
                    jacobian[row] = (high - low) / (2 * self.eps)
        return jacobians

    def moved(self, x: Tensor, key: tuple[int, ...], value: float) -> list[list[Jacobian]]:
        """Return the outputs, flattened, with element `key` of `x` moved up, and moved down."""
        try:
            return [self.values_at(x, key, value + step) for step in (self.eps, -self.eps)]
        finally:
            self.write(x, key, value)

    def values_at(self, x: Tensor, key: tuple[int, ...], value: float) -> list[Jacobian]:
        self.write(x, key, value)
        return [_host(out).copy() for out in self.outputs()]

    @staticmethod
    def write(x: Tensor, key: tuple[int, ...], value: float) -> None:
        with no_grad():
            x[key] = float(value)

    # ---- the graph

    def analytical(self, roots: dict[int, Tensor], j: int) -> dict[int, Jacobian]:
        """Return the Jacobian of output `j` by each input; the graph must give it twice."""
        first, second = self.walk(roots, j), self.walk(roots, j)
        for i, jacobian in first.items():
            if not _within(jacobian, second[i], self.nondet_tol):
                raise GradcheckError(
                    f"gradcheck: backward is not deterministic: for output {j} and input {i} two "
                    f"passes differ by more than nondet_tol={self.nondet_tol}\n"
                    f"first:\n{jacobian}\nsecond:\n{second[i]}"
                )
        return first

    def walk(self, roots: dict[int, Tensor], j: int) -> dict[int, Jacobian]:
        out = roots[j]
        size = out.numel()
        jacobians = {i: np.zeros((x.numel(), size)) for i, x in self.wanted.items()}
        for column in range(size):
            seed = np.zeros(size)
            seed[column] = 1
            if self.undefined:
                grads = self.alone(roots, j, seed)
            else:
                others = {k: np.zeros(root.numel()) for k, root in roots.items()}
                grads = self.pulled(roots, {**others, j: seed})
            for i, g in grads.items():
                jacobians[i][:, column] = g
        return jacobians

    def alone(self, roots: dict[int, Tensor], j: int, seed: Jacobian) -> dict[int, Jacobian]:
        """Return the gradients where only output `j` has one, and the other outputs have None."""
        if len(roots) == 1:
            return self.pulled(roots, {j: seed})
        try:
            return self.pulled({j: roots[j]}, {j: seed})
        except Exception as error:
            raise GradcheckError(
                f"gradcheck: backward failed where only output {j} has a gradient; it must take "
                f"None for the others: {type(error).__name__}: {error}"
            ) from error

    def pulled(self, roots: dict[int, Tensor], seeds: dict[int, Jacobian]) -> dict[int, Jacobian]:
        """Return the gradients of the inputs, flattened, zeros where there are none."""
        given = [_like(seeds[j], out) for j, out in roots.items()]
        outs, xs = list(roots.values()), list(self.wanted.values())
        found = grad(outs, xs, given, retain_graph=True, allow_unused=True)
        pairs = zip(self.wanted.items(), found, strict=True)
        return {i: self.checked(i, x, g) for (i, x), g in pairs}

    @staticmethod
    def checked(i: int, x: Tensor, g: Tensor | None) -> Jacobian:
        if g is None:
            return np.zeros(x.numel())
        if (g.shape, g.dtype, g.device) != (x.shape, x.dtype, x.device):
            raise GradcheckError(
                f"gradcheck: input {i} is {x.shape} {x.dtype.name} on '{x.device}', its gradient "
                f"is {g.shape} {g.dtype.name} on '{g.device}'"
            )
        return _host(g)

    # ---- verdicts

    def compare(
        self, numerical: Jacobian, analytical: Jacobian, i: int, j: int, out: Tensor
    ) -> None:
        wrong = ~(np.abs(analytical - numerical) <= self.atol + self.rtol * np.abs(numerical))
        if not wrong.any():
            return
        row, column = np.argwhere(wrong)[0]
        x = self.wanted[i]
        raise GradcheckError(
            f"gradcheck: Jacobian mismatch for output {j} of shape {out.shape} with respect to "
            f"input {i} of shape {x.shape}: {wrong.sum()} of {wrong.size} entries, the first for "
            f"output element {_place(column, out.shape)} and input element {_place(row, x.shape)}: "
            f"numerical {numerical[row, column]}, analytical {analytical[row, column]}\n"
            f"numerical:\n{numerical}\nanalytical:\n{analytical}"
        )

    def check_flat(self, numerical: dict[int, list[Jacobian]]) -> None:
        """Check that outputs that do not require grad do not change either."""
        for i, jacobians in numerical.items():
            for j, jacobian in enumerate(jacobians):
                if jacobian.any():
                    raise GradcheckError(
                        f"gradcheck: no output requires grad, yet output {j} changes with input "
                        f"{i}\nnumerical:\n{jacobian}"
                    )

    def check_zero(self, roots: dict[int, Tensor]) -> None:
        """Check that zero gives zero; for outputs without elements nothing else runs backward."""
        zeros = self.pulled(roots, {j: np.zeros(out.numel()) for j, out in roots.items()})
        for i, g in zeros.items():
            if g.any():
                raise GradcheckError(
                    f"gradcheck: the gradient of input {i} is {g} where those of the outputs are "
                    f"zero; backward must multiply by them"
                )

    def check_linear(self, roots: dict[int, Tensor], rows: dict[int, dict[int, Jacobian]]) -> None:
        """Check that all outputs together, and all but one, give the sum of what each gives."""
        weights = {j: np.linspace(0.5, 1.5, out.numel()) for j, out in roots.items()}
        left_out: list[int | None] = [None, *(roots if self.undefined and len(roots) > 1 else ())]
        for missing in left_out:
            part = {j: out for j, out in roots.items() if j != missing}
            for i, g in self.pulled(part, weights).items():
                total = sum(rows[j][i] @ weights[j] for j in part)
                if not np.allclose(g, total, rtol=self.rtol, atol=self.atol):
                    raise GradcheckError(
                        f"gradcheck: the gradient of input {i} is not the sum over the outputs "
                        f"{list(part)}: expected {total}, got {g}"
                    )


def _host(x: Tensor) -> Jacobian:
    return x.detach().numpy().astype(np.float64).reshape(-1)


def _like(seed: Jacobian, out: Tensor) -> Tensor:
    array = seed.reshape(out.shape).astype(out.dtype)
    return Tensor(out.device.backend.from_numpy(array), out.device)


def _within(first: Jacobian, second: Jacobian, tolerance: float) -> bool:
    if np.array_equal(first, second, equal_nan=True):
        return True
    return bool(tolerance and np.abs(first - second).max() <= tolerance)


def _place(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(index, shape)))
