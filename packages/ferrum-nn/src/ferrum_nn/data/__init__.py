"""Data sets, and loaders that hand out batches of them."""

from ferrum_nn.data.collate import default_collate
from ferrum_nn.data.dataset import Dataset, TensorDataset
from ferrum_nn.data.loader import DataLoader

__all__ = ["DataLoader", "Dataset", "TensorDataset", "default_collate"]
