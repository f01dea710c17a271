"""Classic mistakes, each a small change to one of the right twins: what it is, where, and how."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bug:
    mistake: str
    old: str
    new: str
    severity: str = "wrong"
    name: str = ""  # where one mistake is made in several ways
    also: str = ""  # what else is then wrong

    @property
    def title(self) -> str:
        return self.name or self.mistake


def source(twin: str, bug: Bug) -> str:
    """Return the twin's code with the bug in it."""
    text = (HERE / f"{twin}.py").read_text("utf-8")
    assert text.count(bug.old) == 1, f"{bug.title}: {text.count(bug.old)} times {bug.old!r}"
    return text.replace(bug.old, bug.new)


VAR = "var = ((x - self.wide(mean)) ** 2).mean(axis=self.axes)"
SUM = "((x - self.wide(mean)) ** 2).sum(axis=self.axes)"
AXES = "self.axes = tuple(a for a in range(x.ndim) if a != 1)"
Y = "y = self.wide(self.gamma) * self.x_hat + self.wide(self.beta)"
X_HAT = "self.x_hat = (x - self.wide(mean)) * self.wide(self.inv_std)"
INV_STD = "self.inv_std = 1 / np.sqrt(var + self.eps)"
DX = "return scale * (dy - mean_term - x_hat_term)"
UNBIASED = "unbiased = var * self.count / (self.count - 1)"
MOVE_MEAN = "self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean"
MOVE_VAR = "self.running_var = (1 - self.momentum) * self.running_var + self.momentum * unbiased"
RUNNING = "mean, var = self.running_mean, self.running_var"

IN_NUMPY = [
    # the transform
    Bug("eps-outside-root", INV_STD, "self.inv_std = 1 / (np.sqrt(var) + self.eps)"),
    Bug("eps-missing", INV_STD, "self.inv_std = 1 / np.sqrt(var)"),
    Bug("eps-squared", INV_STD, "self.inv_std = 1 / np.sqrt(var + self.eps**2)"),
    Bug("eps-not-the-given", INV_STD, "self.inv_std = 1 / np.sqrt(var + 1e-5)"),
    Bug("root-missing", INV_STD, "self.inv_std = 1 / (var + self.eps)"),
    Bug("multiplied-by-std", INV_STD, "self.inv_std = np.sqrt(var + self.eps)"),
    Bug("mean-not-subtracted", X_HAT, "self.x_hat = x * self.wide(self.inv_std)"),
    Bug("gamma-beta-swapped", Y, "y = self.wide(self.beta) * self.x_hat + self.wide(self.gamma)"),
    Bug("gamma-missing", Y, "y = self.x_hat + self.wide(self.beta)"),
    Bug("beta-missing", Y, "y = self.wide(self.gamma) * self.x_hat"),
    Bug("beta-scaled", Y, "y = self.wide(self.gamma) * (self.x_hat + self.wide(self.beta))"),
    Bug("bessel-in-normalization", VAR, f"var = {SUM} / (self.count - 1)"),
    Bug("variance-over-m-plus-1", VAR, f"var = {SUM} / (self.count + 1)"),
    Bug("variance-shrunk", VAR, f"var = {SUM} * (self.count - 1) / self.count**2"),
    Bug("variance-not-divided", VAR, f"var = {SUM}"),
    Bug("variance-over-batch-size", VAR, f"var = {SUM} / len(x)"),
    Bug("variance-not-centred", VAR, "var = (x**2).mean(axis=self.axes)"),
    # the axes
    Bug("statistics-over-batch-only", X_HAT,
        f"{X_HAT}\n        if self.training:\n"
        "            self.x_hat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + self.eps)"),
    Bug("statistics-over-positions-only", X_HAT,
        f"{X_HAT}\n        if self.training and x.ndim > 2:\n"
        "            own = {'axis': self.axes[1:], 'keepdims': True}\n"
        "            self.x_hat = (x - x.mean(**own)) / np.sqrt(x.var(**own) + self.eps)"),
    Bug(
        "statistics-over-everything",
        "mean = x.mean(axis=self.axes)\n            " + VAR,
        "mean = np.full(x.shape[1], x.mean())\n            var = np.full(x.shape[1], x.var())",
    ),
    # dx, dgamma, dbeta
    Bug("variance-as-constant", DX, "return scale * (dy - mean_term)"),
    Bug("mean-as-constant", DX, "return scale * (dy - x_hat_term)"),
    Bug("statistics-as-constants", DX, "return scale * dy"),
    Bug(
        "gamma-missing-in-dx",
        "scale = self.wide(self.gamma * self.inv_std)",
        "scale = self.wide(self.inv_std)",
    ),
    Bug(
        "inv-std-missing-in-dx",
        "scale = self.wide(self.gamma * self.inv_std)",
        "scale = self.wide(self.gamma)",
    ),
    Bug("sign-in-dx", DX, "return scale * (dy - mean_term + x_hat_term)"),
    Bug("half-missing-in-dx", DX, "return scale * (dy - mean_term - 2 * x_hat_term)"),
    Bug(
        "sums-not-divided-in-dx", DX, "return scale * (dy - self.count * (mean_term + x_hat_term))"
    ),
    Bug(
        "sums-over-m-minus-1-in-dx",
        DX,
        "return scale * (dy - self.count / (self.count - 1) * (mean_term + x_hat_term))",
    ),
    Bug(
        "sums-over-batch-size-in-dx",
        DX,
        "return scale * (dy - self.count / len(dy) * (mean_term + x_hat_term))",
    ),
    Bug(
        "dgamma-without-x-hat",
        "self.dgamma = (dy * self.x_hat).sum(axis=self.axes)",
        "self.dgamma = dy.sum(axis=self.axes)",
        name="dgamma without x_hat, and so dx too",
    ),
    Bug(
        "dgamma-not-summed",
        "return scale * (dy - mean_term - x_hat_term)",
        "self.dgamma = dy * self.x_hat\n        return scale * (dy - mean_term - x_hat_term)",
    ),
    Bug(
        "dgamma-over-batch-only",
        DX,
        f"self.dgamma = (dy * self.x_hat).sum(axis=0)\n        {DX}",
    ),
    Bug("dgamma-averaged", DX, f"self.dgamma = self.dgamma / self.count\n        {DX}"),
    Bug("dbeta-missing", DX, f"self.dbeta = 0 * self.dbeta\n        {DX}"),
    Bug("dbeta-averaged", DX, f"self.dbeta = dy.mean(axis=self.axes)\n        {DX}"),
    Bug(
        "dgamma-dbeta-swapped",
        DX,
        f"self.dgamma, self.dbeta = self.dbeta, self.dgamma\n        {DX}",
    ),
    # training and inference
    Bug("running-statistics-in-training", "if self.training:\n            if",
        "if 0:\n            if", also="running-statistics-not-updated"),
    Bug("batch-statistics-in-inference", RUNNING,
        "mean, var = x.mean(axis=self.axes), x.var(axis=self.axes)"),
    Bug("batch-var-in-inference", RUNNING,
        "mean, var = self.running_mean, x.var(axis=self.axes)"),
    Bug("eps-missing", RUNNING, f"{RUNNING} - self.eps", name="eps missing in inference"),
    Bug("statistics-updated-in-inference", RUNNING,
        f"{RUNNING}\n            self.update(x.mean(axis=self.axes), 0 * mean)"),
    Bug("training-gradient-in-inference",
        "if not self.training:\n            return scale * dy", ""),
    Bug("running-statistics-not-updated", "self.update(mean, var)", ""),
    Bug("running-mean-only", MOVE_VAR, ""),
    Bug("running-var-only", MOVE_MEAN, ""),
    Bug("running-var-stores-std", UNBIASED, "unbiased = np.sqrt(var)"),
    Bug("running-var-bessel-inverted", UNBIASED, "unbiased = var * (self.count - 1) / self.count"),
    Bug("running-var-over-m-plus-1", UNBIASED, "unbiased = var * self.count / (self.count + 1)"),
    Bug("running-var-bessel-twice", UNBIASED,
        "unbiased = var * (self.count / (self.count - 1)) ** 2"),
    Bug("running-var-not-divided", UNBIASED, "unbiased = var * self.count"),
    Bug("running-var-over-batch-size", "self.update(mean, var)",
        "self.count = max(len(x), 2)\n            self.update(mean, var)\n"
        "            self.count = x.size // x.shape[1]"),
    Bug("running-var-with-eps", UNBIASED, "unbiased = var + self.eps"),
    Bug("running-var-around-running-mean", UNBIASED,
        "unbiased = var + (mean - self.running_mean) ** 2"),
    Bug("running-statistics-swapped", "self.update(mean, var)", "self.update(var, mean)"),
    Bug("momentum-mixed", MOVE_VAR,
        "self.running_var = self.momentum * self.running_var + (1 - self.momentum) * unbiased"),
    Bug("momentum-ignored", "self.update(mean, var)",
        "declared, self.momentum = self.momentum, 0.25\n            self.update(mean, var)\n"
        "            self.momentum = declared"),
    Bug("running-statistics-replaced", "self.update(mean, var)",
        "declared, self.momentum = self.momentum, 1\n            self.update(mean, var)\n"
        "            self.momentum = declared"),
    # small batches
    Bug("nan-for-batch-of-one", "if self.count < 2:", "if self.count < 1:"),
    Bug("unclear-error-for-batch-of-one", "if self.count < 2:",
        "float(1) / (self.count - 1)\n            if self.count < 2:"),
    Bug("batch-of-one-refused-in-inference", RUNNING,
        f"{RUNNING}\n            if len(x) < 2:\n                raise ValueError('too small')"),
    Bug("constant-channel", X_HAT,
        f"{X_HAT}\n        self.x_hat = np.where(self.wide(var) == 0, 1.0, self.x_hat)"),
    # numbers
    Bug("one-pass-variance", VAR,
        "var = np.maximum((x**2).mean(axis=self.axes) - mean**2, 0)", "weak"),
    Bug("one-pass-variance", VAR, "var = (x**2).mean(axis=self.axes) - mean**2",
        name="one-pass-variance, and NaN"),
    Bug("half-precision-statistics", "np.asarray(x, np.result_type(x, np.float32))", "x", "weak"),
    Bug("half-precision-statistics",
        "given, x = x.dtype, np.asarray(x, np.result_type(x, np.float32))\n"
        "        if self.training:",
        "given = x.dtype\n        if self.training:\n"
        "            if x.dtype == np.float16:\n"
        "                x = x - x.sum(axis=self.axes, keepdims=True) / x.dtype.type(self.count)",
        "weak", "half-precision-statistics, and the sums overflow"),
    # a piece of software
    Bug("returns-nothing", "return y.astype(given)", "y.astype(given)"),
    Bug("returns-wrong-type", "return y.astype(given)", "return y.astype(int)"),
    Bug("returns-wrong-type", "return y.astype(given)", "return y.tolist()", name="a list"),
    Bug("returns-wrong-shape", "return y.astype(given)", "return y.reshape(-1)"),
    Bug("returns-narrower-type", "return y.astype(given)", "return y.astype(np.float16)"),
    Bug("computed-in-float32", "np.asarray(x, np.result_type(x, np.float32))",
        "np.asarray(x, np.float32)", "weak"),
    Bug("input-changed", X_HAT, "x -= self.wide(mean)\n        "
        "self.x_hat = x * self.wide(self.inv_std)"),
    Bug("raises", X_HAT, f"{X_HAT}\n        self.x_hat = self.x_hat[:, :, 0] @ None"),
    Bug("raises", "self.dbeta = dy.sum(axis=self.axes)", "self.dbeta = dy.sum(self.axis)",
        name="raises in backward"),
    Bug("memory-layout", "def forward(self, x):",
        "def forward(self, x):\n        x = np.ravel(x, order='K').reshape(x.shape)"),
    Bug("hangs", X_HAT, f"{X_HAT}\n        while True:\n            pass"),
]  # fmt: skip

T_VAR = "var = ((x - mean.view(shape)) ** 2).mean(axes)"
T_INV_STD = "inv_std = 1 / torch.sqrt(var + self.eps)"
T_X_HAT = "x_hat = (x - mean.view(shape)) * inv_std.view(shape)"
T_MEAN = "mean = x.mean(axes)"
T_RUNNING = "mean, var = self.running_mean, self.running_var"
T_BUFFERS = """        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))"""

IN_TORCH = [
    Bug("eps-outside-root", T_INV_STD, "inv_std = 1 / (torch.sqrt(var) + self.eps)"),
    Bug("bessel-in-normalization", T_VAR, "var = x.var(axes)"),
    Bug("gamma-beta-swapped", "y = self.weight.view(shape) * x_hat + self.bias.view(shape)",
        "y = self.bias.view(shape) * x_hat + self.weight.view(shape)"),
    Bug("mean-as-constant", T_VAR, "mean = mean.detach()\n            " + T_VAR),
    Bug("variance-as-constant", T_VAR, T_VAR + ".detach()"),
    Bug("statistics-as-constants", T_VAR,
        T_VAR + ".detach()\n            mean = mean.detach()"),
    Bug("running-var-bessel-inverted", "var * m / (m - 1)", "var * (m - 1) / m"),
    Bug("running-var-over-batch-size", "var * m / (m - 1)",
        "var * len(x) / max(len(x) - 1, 1)"),
    Bug("momentum-mixed", "self.running_mean += self.momentum *",
        "self.running_mean += (1 - self.momentum) *"),
    Bug("batch-statistics-in-inference", "if self.training:\n            if m < 2:",
        "if True:\n            if m < 2 and self.training:"),
    Bug("state-not-saved", T_BUFFERS, T_BUFFERS.replace("\"running_mean\", ", "").replace(
        "\"running_var\", ", "").replace("self.register_buffer(torch.zeros(num_features))",
        "self.running_mean = torch.zeros(num_features)").replace(
        "self.register_buffer(torch.ones(num_features))",
        "self.running_var = torch.ones(num_features)")),
    Bug("state-not-saved", T_BUFFERS, T_BUFFERS.replace("))", "), persistent=False)"),
        name="buffers that are not persistent"),
    Bug("parameters-not-saved", "self.weight = nn.Parameter(torch.ones(num_features))",
        "self.__dict__['weight'] = torch.ones(num_features, requires_grad=True)"),
    Bug("half-precision-statistics", "x = x.float()", "pass", "weak"),
    Bug("one-pass-variance", T_VAR, "var = (x * x).mean(axes) - mean * mean"),
    Bug("mode-from-grad-mode", "if self.training:\n            if m < 2",
        "if torch.is_grad_enabled():\n            if m < 2", "weak"),
    Bug("memory-layout-refused", "given = x.dtype",
        "given = x.dtype\n        x = x.view(-1).view(x.shape)", "weak"),
    Bug("returns-nothing", "return y.to(given)", "y.to(given)"),
    Bug("returns-wrong-type", "return y.to(given)", "return y.detach().numpy()"),
]  # fmt: skip

CONTEXT = "ctx.save_for_backward(x, gamma)"
AGAIN = """        x, gamma = ctx.saved_tensors
        x_hat, inv_std = normalized(x, ctx.eps)"""
STATIC = "    @staticmethod\n    def backward"

IN_FUNCTION = [  # the torch.autograd.Function in the twin
    Bug("once-differentiable", STATIC,
        "    @staticmethod\n    @torch.autograd.function.once_differentiable\n    def backward",
        "weak"),
    Bug("second-gradient-x-hat-as-a-constant", AGAIN,
        AGAIN + "\n        x_hat, inv_std = x_hat.detach(), inv_std.detach()"),
    Bug("second-gradient-statistics-as-constants", AGAIN,
        AGAIN + "\n        inv_std = inv_std.detach()\n"
        "        x_hat = (x - x.mean(0).detach()) * inv_std"),
    Bug("second-gradient-variance-as-a-constant", AGAIN,
        AGAIN + "\n        inv_std = inv_std.detach()\n        x_hat = (x - x.mean(0)) * inv_std"),
    Bug("variance-as-constant", "dx = gamma * inv_std * (dy - dbeta / len(x) - x_hat * dgamma / "
        "len(x))", "dx = gamma * inv_std * (dy - dbeta / len(x))"),
    Bug("statistics-as-constants", "dx = gamma * inv_std * (dy - dbeta / len(x) - x_hat * dgamma "
        "/ len(x))", "dx = gamma * inv_std * dy"),
    Bug("dgamma-missing", "return dx, dgamma, dbeta, None", "return dx, None, dbeta, None"),
]  # fmt: skip
