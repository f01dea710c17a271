"""The networks of the experiments in PyTorch, with the weights of their NumPy twins."""

import torch
from torch import nn

from bn import layers, reference
from bn.pytorch import BatchNorm1d


def from_numpy(network: layers.Sequential, *, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Build the PyTorch twin of a NumPy network of Linear, BatchNorm and Sigmoid layers.

    Parameters
    ----------
    network : bn.layers.Sequential
        Its parameters are copied; the running statistics start anew.
    dtype : torch.dtype
        Type of the copy's parameters.

    Returns
    -------
    torch.nn.Sequential
        In training mode, layer by layer the same.

    Raises
    ------
    TypeError
        If there is a layer of another kind.
    """
    twins: list[nn.Module] = []
    for layer in network.layers:
        if isinstance(layer, layers.Linear):
            fan_in, fan_out = layer.weight.shape
            linear = nn.Linear(fan_in, fan_out, bias=layer.bias is not None, dtype=dtype)
            # torch keeps the weight as (out, in) and computes x Wᵀ; bn.layers keeps (in, out)
            _copy(linear.weight, layer.weight.T)
            if layer.bias is not None:
                _copy(linear.bias, layer.bias)
            twins.append(linear)
        elif isinstance(layer, reference.BatchNorm):
            norm = BatchNorm1d(
                layer.num_features,
                eps=layer.eps,
                momentum=layer.momentum,
                affine=layer.gamma is not None,
                dtype=dtype,
            )
            if layer.gamma is not None and layer.beta is not None:
                _copy(norm.weight, layer.gamma)
                _copy(norm.bias, layer.beta)
            twins.append(norm)
        elif isinstance(layer, layers.Sigmoid):
            twins.append(nn.Sigmoid())
        else:
            raise TypeError(f"there is no PyTorch twin for a layer of type {type(layer).__name__}")
    return nn.Sequential(*twins)


def _copy(target: torch.Tensor, values: layers.dense.Array) -> None:
    with torch.no_grad():
        target.copy_(torch.as_tensor(values.copy()))


def cifar_network(
    *,
    batch_norm: bool,
    generator: torch.Generator,
    colours: int = 3,
    classes: int = 10,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Build a small convolutional network: five 3×3 convolutions, three halvings, one average.

    Parameters
    ----------
    batch_norm : bool
        Whether each convolution is followed by ``relu(BN(Wu))`` (without b) or ``relu(Wu + b)``.
    generator : torch.Generator
        Draws the weights, with He's standard deviation. Equal generators give both kinds of
        network the same weights.
    colours, classes : int
        Channels of an image, scores.
    eps : float
        Of batch normalization.

    Returns
    -------
    torch.nn.Sequential
        Of torch.nn's modules, with about 280 000 parameters; :func:`bn.pytorch.convert` puts
        this book's batch norm in.
    """
    layers: list[nn.Module] = []
    before = colours
    for channels in (32, "pool", 64, 64, "pool", 128, 128, "pool"):
        if isinstance(channels, str):
            layers.append(nn.MaxPool2d(2))
            continue
        convolution = nn.Conv2d(before, channels, 3, padding=1, bias=not batch_norm)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=generator)
        layers.append(convolution)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        else:
            layers.append(nn.BatchNorm2d(channels, eps=eps))
        layers.append(nn.ReLU(inplace=True))
        before = channels
    scores = nn.Linear(before, classes)
    nn.init.normal_(scores.weight, std=before**-0.5, generator=generator)
    nn.init.zeros_(scores.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), scores)
