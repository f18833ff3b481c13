"""The methods of `Tensor`, by theme, each theme built on the one before it.

They are conversion, shaping, indexing, operators, elementwise, reductions; `ferrum.tensor` is last.
"""
