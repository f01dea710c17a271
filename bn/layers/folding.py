"""Folding batch norms into the layers before them, for inference."""

import copy

from bn.layers.convolution import Conv2d
from bn.layers.dense import Layer, Linear
from bn.layers.network import Sequential
from bn.reference import BatchNorm, fold_batch_norm


# paper: eq-affine, s32-inference
def fold(network: Sequential) -> Sequential:
    """Return a network for inference that has its batch norms in the layers before them.

    A :class:`bn.reference.BatchNorm` right behind a :class:`Linear` or a :class:`Conv2d` is gone
    from the copy, whose layer has another weight and a bias. A batch norm behind anything else,
    such as a nonlinearity, stays.

    Parameters
    ----------
    network : Sequential
        Is left as it is.

    Returns
    -------
    Sequential
        In inference mode. Layers that were not folded are shallow copies, with the same
        parameters as in `network`.

    Raises
    ------
    ValueError
        If a batch norm that could be folded has its channels on another axis than 1.
    """
    layers: list[Layer] = []
    for layer in network.layers:
        before = layers[-1] if layers else None
        if isinstance(layer, BatchNorm) and isinstance(before, Linear | Conv2d):
            if layer.axis != 1:
                raise ValueError(f"a batch norm has axis {layer.axis}, expected 1 to fold it")
            before.weight, before.bias = fold_batch_norm(
                before.weight, before.bias, layer.running_mean, layer.running_var,
                layer.gamma, layer.beta, eps=layer.eps, axis=1 if isinstance(before, Linear) else 0,
            )  # fmt: skip
        else:
            layers.append(copy.copy(layer))
    folded = Sequential(layers)
    folded.train(False)
    return folded
