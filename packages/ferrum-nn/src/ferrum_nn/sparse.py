"""Embeddings: rows of a table, picked by integers, one by one or in bags."""

from __future__ import annotations

from typing import Self

from ferrum import Device, Tensor, empty, no_grad, randn_like
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError, OperandError, ShapeError, UnsupportedError
from ferrum_nn import functional
from ferrum_nn.functional.embedding import check_mode, row_of
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter


class Embedding(Module):
    """Pick rows of a table: integers (...) to (..., embedding_dim).

    `weight` is (num_embeddings, embedding_dim), from the standard normal distribution. The row
    `padding_idx` starts as 0 and gets no gradient; rows that are picked are first scaled to a
    `norm_type`-norm of at most `max_norm`; `scale_grad_by_freq` divides a row's gradient by how
    often it was picked. `sparse` gradients are refused.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        if sparse:
            raise UnsupportedError("Embedding: there are no sparse gradients; leave out sparse")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if padding_idx is not None:
            padding_idx = row_of("Embedding", padding_idx, num_embeddings)
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        shape = (num_embeddings, embedding_dim)
        if _weight is None:
            made = empty(shape, device=device, dtype=dtype)
            self.weight = Parameter(made, requires_grad=not _freeze)
            self.reset_parameters()
        elif _weight.shape != shape:
            raise ShapeError(f"Embedding: expected a weight of shape {shape}, got {_weight.shape}")
        else:
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        _draw(self.weight, self.padding_idx)

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows that input picks."""
        return functional.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
        )

    def extra_repr(self) -> str:
        """Return the sizes, and what is not as usual."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            parts.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq:
            parts.append(f"scale_grad_by_freq={self.scale_grad_by_freq}")
        return ", ".join(parts)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """Return a layer with this table (n, d); it is not learned if `freeze`."""
        rows, columns = _table("Embedding", embeddings)
        return cls(
            rows,
            columns,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight=embeddings,
            _freeze=freeze,
        )


class EmbeddingBag(Module):
    """Sums, means or largest elements of rows of a table: `ferrum_nn.functional.embedding_bag`.

    Takes integers (bags, length), or (m,) with offsets (bags,), to (bags, embedding_dim). `weight`
    is (num_embeddings, embedding_dim), from the standard normal distribution; the row `padding_idx`
    starts as 0 and counts for nothing. `sparse` gradients are refused.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        check_mode("EmbeddingBag", mode, sparse, scale_grad_by_freq, None)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.include_last_offset = include_last_offset
        if padding_idx is not None:
            padding_idx = row_of("EmbeddingBag", padding_idx, num_embeddings)
        self.padding_idx = padding_idx
        shape = (num_embeddings, embedding_dim)
        if _weight is None:
            self.weight = Parameter(empty(shape, device=device, dtype=dtype))
            self.reset_parameters()
        elif _weight.shape != shape:
            raise ShapeError(
                f"EmbeddingBag: expected a weight of shape {shape}, got {_weight.shape}"
            )
        else:
            self.weight = Parameter(_weight)

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        _draw(self.weight, self.padding_idx)

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Return the sum, mean or largest elements of each bag."""
        return functional.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        """Return the sizes, the mode, and what is not as usual."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            parts.append(f"norm_type={self.norm_type}")
        if self.scale_grad_by_freq:
            parts.append(f"scale_grad_by_freq={self.scale_grad_by_freq}")
        parts.append(f"mode={self.mode!r}")
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        return ", ".join(parts)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """Return a layer with this table (n, d); it is not learned if `freeze`."""
        rows, columns = _table("EmbeddingBag", embeddings)
        made = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
        )
        made.weight.requires_grad_(not freeze)
        return made


def _draw(weight: Tensor, padding_idx: int | None) -> None:
    """Fill a table from the standard normal distribution, its row for padding with 0."""
    with no_grad():
        weight.copy_(randn_like(weight))
        if padding_idx is not None:
            weight[padding_idx] = 0


def _table(name: str, embeddings: Tensor) -> tuple[int, int]:
    """Return the sizes of a table, or raise."""
    if not isinstance(embeddings, Tensor):
        raise OperandError(
            f"{name}: expected a tensor, got {type(embeddings).__name__}; make one with "
            f"fe.tensor(...)"
        )
    if embeddings.ndim != 2:
        raise ArgumentError(f"{name}: expected a table (n, d), got {embeddings.shape}")
    rows, columns = embeddings.shape
    return rows, columns
