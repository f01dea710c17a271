"""Other people's implementations, written anew from a description of what they do.

D2L-like: statistics as plain attributes, 0.9 is the weight of the old value, the biased variance,
and the mode read off torch.is_grad_enabled(). labml-like: E[x²] − E[x]². cs231n-like: functions
with a dictionary. Flax-like: E[x²] − E[x]², clipped at 0.
"""

import numpy as np
import torch
from torch import nn


class LikeD2L(nn.Module):
    def __init__(self, num_features, num_dims):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.moving_mean, self.moving_var = torch.zeros(shape), torch.ones(shape)

    def forward(self, X):  # noqa: N803  the book's name
        y, self.moving_mean, self.moving_var = like_d2l(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, eps=1e-5, momentum=0.9
        )
        return y


def like_d2l(X, gamma, beta, moving_mean, moving_var, eps, momentum):  # noqa: N803
    assert len(X.shape) in (2, 4), "expected 2 or 4 axes"
    if not torch.is_grad_enabled():
        x_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
    else:
        axes = 0 if len(X.shape) == 2 else (0, 2, 3)
        mean = X.mean(axes, keepdim=True)
        var = ((X - mean) ** 2).mean(axes, keepdim=True)
        x_hat = (X - mean) / torch.sqrt(var + eps)
        moving_mean = momentum * moving_mean + (1 - momentum) * mean
        moving_var = momentum * moving_var + (1 - momentum) * var
    return gamma * x_hat + beta, moving_mean.data, moving_var.data


class LikeLabml(nn.Module):
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.channels, self.eps, self.momentum = channels, eps, momentum
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("exp_mean", torch.zeros(channels))
        self.register_buffer("exp_var", torch.ones(channels))

    def forward(self, x):
        shape = x.shape
        assert shape[1] == self.channels, "channels"
        x = x.view(shape[0], self.channels, -1)
        if self.training:
            mean, square = x.mean([0, 2]), (x**2).mean([0, 2])
            var = square - mean**2
            with torch.no_grad():
                self.exp_mean.lerp_(mean, self.momentum)
                self.exp_var.lerp_(var, self.momentum)
        else:
            mean, var = self.exp_mean, self.exp_var
        x_hat = (x - mean.view(1, -1, 1)) / torch.sqrt(var + self.eps).view(1, -1, 1)
        return (self.scale.view(1, -1, 1) * x_hat + self.shift.view(1, -1, 1)).view(shape)


def like_cs231n(x, gamma, beta, bn_param):
    """Return out, cache; running statistics live in the dictionary, 0.9 of the old is kept."""
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    _, features = x.shape
    mean = bn_param.get("running_mean", np.zeros(features, dtype=x.dtype))
    var = bn_param.get("running_var", np.zeros(features, dtype=x.dtype))
    if bn_param["mode"] == "test":
        return gamma * (x - mean) / np.sqrt(var + eps) + beta, None
    mu = x.mean(axis=0)
    sigma2 = ((x - mu) ** 2).mean(axis=0)
    inv_std = 1 / np.sqrt(sigma2 + eps)
    x_hat = (x - mu) * inv_std
    bn_param["running_mean"] = momentum * mean + (1 - momentum) * mu
    bn_param["running_var"] = momentum * var + (1 - momentum) * sigma2
    return gamma * x_hat + beta, (x_hat, gamma, inv_std)


def like_cs231n_backward(dout, cache):
    if cache is None:
        raise NotImplementedError("only after a forward pass in mode 'train'")
    x_hat, gamma, inv_std = cache
    dgamma, dbeta = (dout * x_hat).sum(axis=0), dout.sum(axis=0)
    n = len(dout)
    return gamma * inv_std * (dout - dbeta / n - x_hat * dgamma / n), dgamma, dbeta


class LikeFlax(nn.Module):
    """Channels last, the weight of the old value, the biased variance, E[x²] − E[x]² clipped."""

    def __init__(self, features, epsilon=1e-5, momentum=0.99):
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.scale = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x):
        given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        if self.training:
            axes = tuple(range(x.dim() - 1))
            mean = x.mean(axes)
            var = torch.clamp((x * x).mean(axes) - mean * mean, min=0)
            with torch.no_grad():
                for old, new in ((self.running_mean, mean), (self.running_var, var)):
                    old.copy_(self.momentum * old + (1 - self.momentum) * new)
        else:
            mean, var = self.running_mean, self.running_var
        y = (x - mean) * (torch.rsqrt(var + self.epsilon) * self.scale) + self.bias
        return y.to(given)
