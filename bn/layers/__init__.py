"""The layers around batch normalization, in NumPy: enough to train a small network.

Every layer has ``forward(x) -> y``, ``backward(dy) -> dx`` for the last forward,
``parameters()`` and ``gradients()`` (arrays by name) and a flag ``training``;
:class:`bn.reference.BatchNorm` is one of them.
"""

from bn.layers.convolution import AvgPool2d, Conv2d, MaxPool2d
from bn.layers.dense import Flatten, Layer, Linear, ReLU, Sigmoid
from bn.layers.folding import fold
from bn.layers.network import SGD, Sequential, softmax_cross_entropy

__all__ = [
    "SGD",
    "AvgPool2d",
    "Conv2d",
    "Flatten",
    "Layer",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "fold",
    "softmax_cross_entropy",
]
