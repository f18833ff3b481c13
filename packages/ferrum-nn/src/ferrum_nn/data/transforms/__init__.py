"""Transforms of images and tables, under the names of torchvision's v2.

Images are tensors (h, w), (c, h, w) or (n, c, h, w); more axes in front are fine. A random
transform draws once for each image of a batch: by default 4 axes or more are a batch along the
first, and 2 or 3 are one image. `batched=True` says that (n, h, w) is a batch too, and
`batched=False` that one draw serves all. Random numbers come from `generator`, or else from the
default generator; with the default one a DataLoader's batches do not depend on its workers.
The random ones compute on the host, whatever the device, and have no gradient.
"""

from ferrum_nn.data.transforms.affine import RandomAffine
from ferrum_nn.data.transforms.conversion import (
    Compose,
    Lambda,
    Normalize,
    OneHot,
    Standardize,
    ToDtype,
    ToImage,
    ToTensor,
)
from ferrum_nn.data.transforms.images import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomVerticalFlip,
)

__all__ = [
    "CenterCrop",
    "Compose",
    "Lambda",
    "Normalize",
    "OneHot",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomVerticalFlip",
    "Standardize",
    "ToDtype",
    "ToImage",
    "ToTensor",
]
