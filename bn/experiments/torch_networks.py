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
