"""A batch norm in NumPy, right: the twin from which `planted` makes wrong ones."""

import numpy as np


class BatchNorm:
    """Any number of axes, channels on axis 1; PyTorch's conventions."""

    def __init__(self, num_features, eps=1e-3, momentum=0.1):
        self.eps, self.momentum = eps, momentum
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)
        self.training = True

    def forward(self, x):
        self.axes = tuple(a for a in range(x.ndim) if a != 1)
        self.shape = (1, -1, *[1] * (x.ndim - 2))
        self.count = x.size // x.shape[1]
        given, x = x.dtype, np.asarray(x, np.result_type(x, np.float32))
        if self.training:
            if self.count < 2:
                raise ValueError(f"x has shape {x.shape}: one value per channel has no variance")
            mean = x.mean(axis=self.axes)
            var = ((x - self.wide(mean)) ** 2).mean(axis=self.axes)
            self.update(mean, var)
        else:
            mean, var = self.running_mean, self.running_var
        self.inv_std = 1 / np.sqrt(var + self.eps)
        self.x_hat = (x - self.wide(mean)) * self.wide(self.inv_std)
        y = self.wide(self.gamma) * self.x_hat + self.wide(self.beta)
        return y.astype(given)

    def update(self, mean, var):
        unbiased = var * self.count / (self.count - 1)
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * unbiased

    def backward(self, dy):
        self.dgamma = (dy * self.x_hat).sum(axis=self.axes)
        self.dbeta = dy.sum(axis=self.axes)
        scale = self.wide(self.gamma * self.inv_std)
        if not self.training:
            return scale * dy
        mean_term = self.wide(self.dbeta) / self.count
        x_hat_term = self.x_hat * self.wide(self.dgamma) / self.count
        return scale * (dy - mean_term - x_hat_term)

    def wide(self, values):
        return values.reshape(self.shape)
