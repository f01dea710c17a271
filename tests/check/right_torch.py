"""A batch norm in PyTorch, right: the twin from which `planted` makes wrong ones."""

import torch
from torch import nn
from torch.autograd import Function


class BatchNorm(nn.Module):
    """Any number of axes, channels on axis 1; autograd does the backward pass."""

    def __init__(self, num_features, eps=1e-3, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        axes = [a for a in range(x.dim()) if a != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        m = x.numel() // x.shape[1]
        given = x.dtype
        if x.dtype != torch.float64:
            x = x.float()
        if self.training:
            if m < 2:
                raise ValueError(f"x has shape {tuple(x.shape)}: one value per channel")
            mean = x.mean(axes)
            var = ((x - mean.view(shape)) ** 2).mean(axes)
            with torch.no_grad():
                self.running_mean += self.momentum * (mean - self.running_mean)
                self.running_var += self.momentum * (var * m / (m - 1) - self.running_var)
        else:
            mean, var = self.running_mean, self.running_var
        inv_std = 1 / torch.sqrt(var + self.eps)
        x_hat = (x - mean.view(shape)) * inv_std.view(shape)
        y = self.weight.view(shape) * x_hat + self.bias.view(shape)
        return y.to(given)


class Normalize(Function):
    """The same with a backward pass of its own, for (N, C)."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        ctx.save_for_backward(x, gamma)
        ctx.eps = eps
        x_hat, _ = normalized(x, eps)
        return gamma * x_hat + beta

    @staticmethod
    def backward(ctx, dy):
        x, gamma = ctx.saved_tensors
        x_hat, inv_std = normalized(x, ctx.eps)
        dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
        dx = gamma * inv_std * (dy - dbeta / len(x) - x_hat * dgamma / len(x))
        return dx, dgamma, dbeta, None


def normalized(x, eps):
    mean = x.mean(0)
    inv_std = 1 / torch.sqrt(((x - mean) ** 2).mean(0) + eps)
    return (x - mean) * inv_std, inv_std


def by_function(x, gamma, beta, eps):
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (N, C)")
    if len(x) < 2:
        raise ValueError("one value per channel has no variance")
    if x.dtype != torch.float64:
        return Normalize.apply(x.float(), gamma, beta, eps).to(x.dtype)
    return Normalize.apply(x, gamma, beta, eps)
