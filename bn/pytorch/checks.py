"""What the tensors of batch normalization must be, and what is said when they are not.

What concerns numbers and shapes only is :mod:`bn.reference.checks`. Nothing here reads a value
of a tensor, so nothing here makes a GPU wait.
"""

from typing import Any

import torch
from torch import Tensor

#: For each type of input, the type of what belongs to the parameters: half precision has too few
#: bits to learn in.
PARAMETER_DTYPE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


def check_input(name: str, value: Any) -> None:
    """Raise unless `value` is a tensor of floating-point numbers with at least two axes."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} is of type {type(value).__name__}, expected a torch.Tensor; "
            "torch.as_tensor makes one of an array"
        )
    if value.dtype not in PARAMETER_DTYPE:
        raise TypeError(
            f"{name} has dtype {value.dtype}, expected float16, bfloat16, float32 or float64; "
            f"convert it, for example with {name}.float()"
        )
    if value.dim() < 2:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, expected at least two axes, such as "
            f"(batch, channels); for one feature use {name}[:, None]"
        )


def check_channels(name: str, value: Any, x: Tensor, axis: int) -> None:
    """Raise unless `value` is None or holds one number per channel of x, on x's device."""
    if value is None:
        return
    channels = x.shape[axis]
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} is of type {type(value).__name__}, expected a torch.Tensor of shape "
            f"({channels},) or None"
        )
    if value.dtype not in PARAMETER_DTYPE:
        raise TypeError(f"{name} has dtype {value.dtype}, expected a floating-point type")
    if value.dim() != 1 or value.shape[0] != channels:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, expected ({channels},): "
            "one value per channel of x"
        )
    if value.device != x.device:
        raise ValueError(
            f"{name} is on {value.device} and x on {x.device}; move one of them with .to(device)"
        )


def check_residual(residual: Any, x: Tensor) -> None:
    """Raise unless `residual` is None or a tensor like x, to be added to its batch norm."""
    if residual is None:
        return
    check_input("residual", residual)
    for what in ("shape", "dtype", "device"):
        got, expected = getattr(residual, what), getattr(x, what)
        if got != expected:
            got, expected = (tuple(v) if what == "shape" else v for v in (got, expected))
            raise ValueError(f"residual has {what} {got}, expected {expected}, that of x")


def check_upstream(dy: Any, x: Tensor) -> None:
    """Raise unless the gradient `dy` could belong to a y of the shape of x."""
    check_input("dy", dy)
    if dy.shape != x.shape:
        raise ValueError(
            f"dy has shape {tuple(dy.shape)}, expected {tuple(x.shape)}: the shape of y"
        )
