"""The methods of `Tensor`, by theme; `ferrum.tensor` puts them together."""
