"""``BatchNorm1d``, ``BatchNorm2d`` and ``BatchNorm3d``: torch.nn's modules, with our mathematics.

They inherit from torch.nn's, so parameters, buffers, ``state_dict`` and what other code asks with
``isinstance`` (``torch.optim.swa_utils.update_bn``, for one) stay the same. What happens in
``forward`` is ours. :mod:`bn.pytorch` lists the differences.
"""

from typing import Any

import torch
from torch import Tensor, nn

from bn.pytorch.backends import Backend, check_backend
from bn.pytorch.checks import check_input, check_residual
from bn.pytorch.eager import recorded_by_fx
from bn.pytorch.functional import batch_norm
from bn.pytorch.running import NonFinite, check_momentum, check_nonfinite
from bn.reference.checks import check_eps


class _Forward(nn.modules.batchnorm._BatchNorm):
    """The constructor and the forward pass that the three classes share."""

    unbiased: bool
    nonfinite: NonFinite
    backend: Backend

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        unbiased: bool = True,
        nonfinite: NonFinite = "keep",
        backend: Backend = "auto",
    ) -> None:
        check_options(num_features, eps, momentum)
        check_nonfinite(nonfinite)
        check_backend(backend)
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype
        )
        if not bias:  # an argument of torch.nn's own constructor only in newer releases
            self.register_parameter("bias", None)
        self.unbiased, self.nonfinite, self.backend = unbiased, nonfinite, backend

    def reset_parameters(self) -> None:
        """Set the statistics to 0 and 1, gamma (``weight``) to 1 and beta (``bias``) to 0."""
        self.reset_running_stats()
        for parameter, value in ((self.weight, 1.0), (self.bias, 0.0)):
            if parameter is not None:
                nn.init.constant_(parameter, value)

    def forward(self, input: Tensor) -> Tensor:
        """Return y; in training, move the running statistics too.

        Raises
        ------
        ValueError
            If the input has the wrong number of axes or of channels; in training, if it has one
            value per channel, or (with ``nonfinite="raise"``) holds NaN or infinity.
        """
        recorded: Tensor | None = recorded_by_fx(self, input)
        if recorded is not None:
            return recorded
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        return self.normalize(input)

    def normalize(
        self, input: Tensor, relu: bool = False, residual: Tensor | None = None
    ) -> Tensor:
        """Return y for any number of axes; if asked, with `residual` added, and through a ReLU."""
        check_input("input", input)
        if input.shape[1] != self.num_features:
            raise ValueError(
                f"input has shape {tuple(input.shape)}, so {input.shape[1]} channels on axis 1; "
                f"expected num_features = {self.num_features}"
            )
        if self.training or self.running_mean is None:
            if input.numel() == 0:
                check_residual(residual, input)
                return self._nothing(input if residual is None else input + residual)
            if not self.training and input.numel() == input.shape[1]:
                raise ValueError(
                    f"input has shape {tuple(input.shape)}, 1 value per channel, and this module "
                    "has no running statistics (track_running_stats=False): in evaluation, too, "
                    "it takes those of the batch, for which it needs at least 2 values"
                )
            moving = self.training and self.track_running_stats
            return batch_norm(
                input,
                self.weight,
                self.bias,
                self.running_mean if moving else None,
                self.running_var if moving else None,
                momentum=self.momentum,
                eps=self.eps,
                unbiased=self.unbiased,
                nonfinite=self.nonfinite,
                num_batches=self.num_batches_tracked if moving else None,
                relu=relu,
                residual=residual,
                backend=self.backend,
            )
        return batch_norm(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            training=False,
            eps=self.eps,
            relu=relu,
            residual=residual,
            backend=self.backend,
        )

    def __prepare_scriptable__(self) -> nn.Module:
        """Tell torch.jit.script, which asks each module for what it can compile."""
        raise TypeError(
            f"{type(self).__name__} of bn.pytorch cannot be compiled by torch.jit.script, which "
            "knows torch's own modules only; swap those of the whole model for torch.nn's before: "
            'bn.pytorch.convert(model, to="torch")'
        )

    def _nothing(self, input: Tensor) -> Tensor:
        """Return the y of no values: it has no statistics, but gradients for every parameter."""
        y = input.clone()
        shape = (1, -1, *[1] * (input.dim() - 2))
        if self.weight is not None:
            y = y * self.weight.reshape(shape)
        if self.bias is not None:
            y = y + self.bias.reshape(shape)
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        """Return torch.nn's description, and our options where they are not the default."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        if not self.unbiased:
            text += ", unbiased=False"
        if self.nonfinite != "keep":
            text += f", nonfinite={self.nonfinite!r}"
        if self.backend != "auto":
            text += f", backend={self.backend!r}"
        return text


def check_options(num_features: int, eps: float, momentum: float | None) -> None:
    """Raise ValueError or TypeError unless a batch norm can be made with these options."""
    if num_features < 1:
        raise ValueError(f"num_features is {num_features}, expected at least 1 channel")
    check_eps(eps)
    check_momentum(momentum)


class BatchNorm1d(_Forward, nn.BatchNorm1d):
    """Batch normalization of (N, C) or (N, C, L): a drop-in for :class:`torch.nn.BatchNorm1d`.

    Parameters
    ----------
    num_features : int
        C, the number of channels, on axis 1.
    eps : float
        Added to the variance. 0 is allowed as long as no channel is constant.
    momentum : float or None
        The weight of the NEW value in the running statistics, from 0 to 1. None: the plain
        average of all batches.
    affine : bool
        Whether there are gamma, called ``weight``, and beta, called ``bias``.
    track_running_stats : bool
        Whether there are running statistics. Without them, evaluation uses the batch's too.
    device, dtype
        Of parameters and buffers.
    bias : bool
        Whether there is beta, if `affine`.
    unbiased : bool
        Which variance enters the running one: ``m/(m-1) var`` as in torch.nn, or ``var``.
    nonfinite : {"keep", "raise", "propagate"}
        What a batch with NaN or infinity does to the running statistics: nothing, an error, or
        what it does in torch.nn: spoil them for ever. See
        :func:`bn.pytorch.update_running`.
    backend : {"auto", "reference", "numba", "torch", "triton"}
        Which code computes, see :mod:`bn.pytorch`.

    Raises
    ------
    TypeError, ValueError
        If an option is out of its range.

    Notes
    -----
    ONNX and TorchScript know torch's own operators only: before exporting there, call
    ``bn.pytorch.convert(model, to="torch")``.
    """


class BatchNorm2d(_Forward, nn.BatchNorm2d):
    """Batch normalization of (N, C, H, W): a drop-in for :class:`torch.nn.BatchNorm2d`.

    Parameters and errors are those of :class:`BatchNorm1d`. ``channels_last`` is kept.
    """


class BatchNorm3d(_Forward, nn.BatchNorm3d):
    """Batch normalization of (N, C, D, H, W): a drop-in for :class:`torch.nn.BatchNorm3d`.

    Parameters and errors are those of :class:`BatchNorm1d`. ``channels_last_3d`` is kept.
    """
