"""Batch norm and what follows it in one operator: half the memory traffic, half of what is kept.

A ReLU by itself reads y from memory, writes it again, and keeps it for the backward pass, only to
find out where it was closed. That can be found again from x, which batch norm keeps anyway. With
an addition before the ReLU it cannot; the kernels for the CPU then keep a bit for each element,
and everything else keeps what was added.
"""

from torch import Tensor

from bn.pytorch.modules import _Forward


class _AnyDimension(_Forward):
    """Takes (N, C) and (N, C, ...) alike."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")


class BatchNormReLU(_AnyDimension):
    """``relu(batch_norm(x))`` for x of shape (N, C) or (N, C, ...).

    Its parameters, buffers and ``state_dict`` are those of the batch norm alone, so a checkpoint
    of ``nn.BatchNorm2d`` followed by ``nn.ReLU`` fits. With NaN the ReLU passes it on.

    Parameters and errors are those of :class:`BatchNorm1d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return y; in training, move the running statistics too."""
        return self._normalize(input, relu=True)


class BatchNormAddReLU(_AnyDimension):
    """``relu(batch_norm(x) + residual)``: the end of a residual block.

    Parameters and errors are those of :class:`BatchNorm1d`.
    """

    def forward(self, input: Tensor, residual: Tensor) -> Tensor:  # type: ignore[override]
        """Return y; in training, move the running statistics too.

        Parameters
        ----------
        input : tensor, (N, C) or (N, C, ...)
        residual : tensor, the shape, type and device of the input

        Raises
        ------
        TypeError, ValueError
            As :class:`BatchNorm1d` does, and if `residual` does not fit.
        """
        return self._normalize(input, relu=True, residual=residual)
