"""Classic mistakes of batch normalization, each a small change of a line of bn.reference.

A test of the tests: each mistake is put into a copy of the package, and at least one suite has to
fail on it. ``python -m tools.conformance bugs`` runs every suite on every one.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.conformance.suites import PlantError, copy_package


@dataclass(frozen=True)
class Bug:
    """A mistake: in `file` of bn/reference, `old` becomes `new`."""

    name: str
    what: str
    file: str
    old: str
    new: str

    def plant(self, folder: Path) -> None:
        """Put a copy of the package with this mistake into an empty folder.

        Raises
        ------
        PlantError
            If the line that is to be changed is not there exactly once.
        """
        copy_package(folder)
        path = folder / "bn" / "reference" / self.file
        text = path.read_text(encoding="utf-8")
        if (times := text.count(self.old)) != 1:
            raise PlantError(
                f"planted bug {self.name!r}: bn/reference/{self.file} has {times} times the text\n"
                f"  {self.old}\nexpected once. The code has changed: change the bug with it, in "
                "tests/conformance/planted.py"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


_VAR = "var = np.square(centred, dtype=np.float64).mean(axis=others, where=counts)"
_Y = "y = along(gamma, x, axis) * x_hat + along(beta, x, axis)"
_DX = "dx = scale * (centred - x_hat * mean_dy_x_hat)"
_INV_STD = "inv_std = (1.0 / np.sqrt(var + eps)).astype(dtype)"
_M = "m = cache.count.astype(x_hat.dtype)"
_UNBIASED = "var = cache.var * m / (m - 1) if self.unbiased else cache.var"
_KEPT = "gamma = None if self.gamma is None else self.gamma.copy()"
_TRAINED = "self._update(cache)\n        self.cache = cache\n        return y"

BUGS = [
    # --- the transform
    Bug("eps-outside-root", "1/(√σ² + ε) instead of 1/√(σ² + ε)",
        "algorithm.py", _INV_STD, "inv_std = (1.0 / (np.sqrt(var) + eps)).astype(dtype)"),
    Bug("eps-forgotten", "no ε in training",
        "algorithm.py", _INV_STD, "inv_std = (1.0 / np.sqrt(var + 1e-300)).astype(dtype)"),
    Bug("bessel-in-forward", "x is divided by the root of the unbiased variance",
        "moments.py", _VAR, f"{_VAR}\n        n = np.broadcast_to(counts, x.shape).sum(others)\n"
        "        var = var * n / (n - 1)"),
    Bug("one-variance-for-all", "the variance is taken over the channels too",
        "moments.py", _VAR, _VAR.replace("axis=others, ", "") + " + np.zeros(x.shape[axis])"),
    Bug("per-position", "the variance is taken over the examples only, then averaged",
        "moments.py", _VAR, "var = np.square(centred - centred.mean(axis=0 if axis else 1, "
        "keepdims=True), dtype=np.float64).mean(axis=others, where=counts)"),
    Bug("e-x2-minus-ex-2", "σ² = E[x²] − E[x]², in the type of x",
        "moments.py", _VAR, "var = np.square(x).mean(axis=others, where=counts) - np.square(\n"
        "            x.mean(axis=others, where=counts))\n"
        "        var = np.maximum(var, 0).astype(np.float64)"),
    Bug("no-pivot", "two passes without a shift: the mean is rounded before it is subtracted",
        "moments.py", "pivot = first + guess.reshape(shape).astype(x.dtype)",
        "pivot = 0 * first\n        guess = x.mean(axis=others, dtype=np.float64, where=counts)"),
    Bug("folded", "y = a x + b, with μ in b: large numbers that cancel",
        "algorithm.py", _Y, "a = along(gamma * inv_std, x, axis)\n    "
        "y = a * x + (along(beta, x, axis) - a * along(mean.astype(dtype), x, axis))"),
    Bug("half-precision", "half-precision input is computed in half precision",
        "checks.py", '"float16": np.dtype(np.float64)', '"float16": np.dtype(np.float16)'),
    Bug("mask-ignored", "the mask has no influence on the statistics",
        "algorithm.py", "moments(x, axis, mask)", "moments(x, axis)"),
    Bug("mask-not-counted", "means are over m values, also those that a mask leaves out",
        "algorithm.py", "count = checks.count_values(x.shape, axis, mask)",
        "count = checks.count_values(x.shape, axis, None)"),
    # --- the gradient
    Bug("detached-mean", "the gradient does not flow through the mean",
        "algorithm.py", _DX, "dx = scale * (dy - x_hat * mean_dy_x_hat)"),
    Bug("detached-variance", "the gradient does not flow through the variance",
        "algorithm.py", _DX, "dx = scale * centred"),
    Bug("detached-both", "the backward pass of inference, after training",
        "algorithm.py", _DX, "dx = scale * dy"),
    Bug("missing-x-hat", "x̂ is left out of its own term",
        "algorithm.py", _DX, "dx = scale * (centred - mean_dy_x_hat)"),
    Bug("gamma-not-in-dx", "γ is left out of dx",
        "algorithm.py", "along(cache.gamma * cache.inv_std, dy, axis)",
        "along(cache.inv_std, dy, axis)"),
    Bug("bessel-in-backward", "means over m − 1 in dx",
        "algorithm.py", _M, "m = (cache.count - 1).astype(x_hat.dtype)"),
    Bug("m-is-n", "m is the number of examples, without the positions",
        "algorithm.py", _M, "m = np.full_like(cache.inv_std, dy.shape[0 if axis else 1])"),
    Bug("dgamma-averaged", "dγ is a mean instead of a sum",
        "algorithm.py", "dgamma.astype(parameters)", "(dgamma / m).astype(parameters)"),
    Bug("padding-in-the-gradient", "what a mask leaves out gets a gradient through the statistics",
        "algorithm.py", "if cache.mask is not None:", "if False:"),
    Bug("no-path-through-r", "the second gradient does not flow through 1/√(σ² + ε)",
        "second_order.py", "(channel_sum(g * h, axis) + s * q)", "channel_sum(g * h, axis)"),
    Bug("sums-in-float32", "sums of float32 numbers are accumulated in float32",
        "channels.py", "x.sum(axis=others, dtype=np.float64)", "x.sum(axis=others)"),
    # --- running statistics
    Bug("flipped-momentum", "momentum is the weight of the old value",
        "layer.py", "else self.momentum\n", "else 1 - self.momentum\n"),
    Bug("biased-running-variance", "the biased variance where the unbiased one was asked for",
        "layer.py", _UNBIASED, "var = cache.var"),
    Bug("always-unbiased", "the unbiased variance where the biased one was asked for",
        "layer.py", _UNBIASED, "var = cache.var * m / (m - 1)"),
    Bug("wrong-bessel", "(m − 1)/m instead of m/(m − 1)",
        "layer.py", _UNBIASED, _UNBIASED.replace("m / (m - 1)", "(m - 1) / m")),
    Bug("running-std", "the running variance is fed with the standard deviation",
        "layer.py", _UNBIASED, f"{_UNBIASED}\n        var = np.sqrt(var)"),
    Bug("average-off-by-one", "the plain average counts one batch too many",
        "layer.py", "1 / self.num_batches if", "1 / (self.num_batches + 1) if"),
    Bug("nan-kept-for-ever", "NaN enters the running statistics",
        "layer.py", 'self.nonfinite == "keep" and', "False and"),
    # --- training and inference mixed up
    Bug("updated-in-inference", "the running statistics move in inference too",
        "layer.py", _KEPT, f"{_KEPT}\n            if x.size > 1 + x.shape[self.axis]:\n"
        "                self._update(batch_norm_forward(x, axis=self.axis)[1])"),
    Bug("inference-in-training", "training normalizes with the running statistics",
        "layer.py", _TRAINED, _TRAINED.replace("return y", "return batch_norm_inference(\n"
        "            x, self.running_mean, self.running_var, self.gamma, self.beta,\n"
        "            eps=self.eps, axis=self.axis)")),
    Bug("training-in-inference", "inference normalizes with the batch's statistics",
        "layer.py", "mean, var = self.running_mean.copy(), self.running_var.copy()",
        "mean, var = self.running_mean.copy(), self.running_var.copy()\n"
        "            if x.size > 1 + x.shape[self.axis]:\n"
        "                cache = batch_norm_forward(x, axis=self.axis)[1]\n"
        "                mean, var = cache.mean, cache.var"),
    Bug("eps-outside-root-in-inference", "the same mistake as the first, in inference",
        "inference.py", "1.0 / np.sqrt(var + eps)", "1.0 / (np.sqrt(var) + eps)"),
    # --- population statistics
    Bug("algorithm-2-biased", "Algorithm 2 without m/(m − 1)",
        "population.py", "unbiased = variances * counts / (counts - 1)", "unbiased = variances"),
    Bug("between-forgotten", "merging forgets how far the means are apart",
        "population.py", "within + between, total", "within, total"),
    Bug("unweighted-merge", "merging gives each shard the same weight",
        "population.py", "weights = counts / total", "weights = full / full.sum(axis=0)"),
]  # fmt: skip
