"""MNIST and CIFAR-10, complete and verified, and mini-batches of them.

``mnist()`` and ``cifar10()`` return every image of the published sets, checked
against the SHA-256 of the published files. They are fetched once and kept in a
folder: ``BN_DATA_DIR`` where that is set, the platform's cache folder otherwise.

Importing this package needs NumPy only. Fetching needs platformdirs, requests,
filelock, pillow and tqdm, and asks for them by name when one is missing.
"""

from bn.data.batches import minibatches, subset
from bn.data.datasets import ImageDataset, cifar10, mnist
from bn.data.errors import DataError

__all__ = ["DataError", "ImageDataset", "cifar10", "minibatches", "mnist", "subset"]
