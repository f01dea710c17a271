"""What the keys of a record are called on a page: its figures, settings and arms.

A key that has no words here is a ``LabelError``: a record that a page shows is read by people.
"""

from __future__ import annotations

import re

#: Figures. A number at the end of one that is not here itself is that of a layer.
FIGURES = {
    "test_accuracy": "test accuracy",
    "test_accuracy_algorithm2": "test accuracy, statistics by Algorithm 2",
    "test_accuracy_training_mode_2": "test accuracy in training mode, batches of 2",
    "test_accuracy_training_mode_10": "test accuracy in training mode, batches of 10",
    "test_accuracy_training_mode_60": "test accuracy in training mode, batches of 60",
    "held_out_accuracy": "accuracy on held-out images",
    "held_out_loss": "loss on held-out images",
    "test_loss": "test loss",
    "training_accuracy": "accuracy on the training set",
    "steps_to_90": "steps to 90 % accuracy",
    "loss": "loss of the last mini-batches",
    "training_loss": "loss on the training set",
    "diverged": "runs that diverged",
    "steps_done": "steps done",
    "epochs_done": "epochs done",
    "minutes": "minutes",
    "images_per_second": "images per second",
    "unit": "typical unit",
    # inputs of sigmoids
    "drift": "drift",
    "wander": "range of the mean",
    "spread": "standard deviation at the end",
    "start_spread": "standard deviation at the start",
    "saturated": "share of saturated inputs",
    "reordered": "what is new in the pattern",
    # lengths
    "bias_norm": "length of the biases",
    "weight_norm": "length of the weights",
    "weight_norm_at_start": "length of the weights at the start",
    "exponent": "exponent of the growth",
    # estimates from a mini-batch
    "mean_error_60": "error of the mean, batches of 60",
    "var_mean_60": "average variance, batches of 60",
    "var_std_60": "spread of the variance, batches of 60",
    "var_std_theory_60": "the same, from the kurtosis",
    "noise_60": "noise of a normalized value, batches of 60",
    "kurtosis_x": "kurtosis of the input",
    "kurtosis_x_within": "kurtosis of the input, its digit's mean subtracted",
    "kurtosis_u": "kurtosis below the weights",
    "skewness_x": "skewness of the input",
    "skewness_u": "skewness below the weights",
    "kurtosis_gain": "nearer to a Gaussian's kurtosis by",
    "skewness_gain": "less skewed by",
    "skewness_wu": "skewness of Wu + b",
    "kurtosis_wu": "kurtosis of Wu + b",
    "skewness_relu": "skewness behind the ReLU",
    "kurtosis_relu": "kurtosis behind the ReLU",
    "values": "values in a group",
    "mean_values": "independent values, by the mean",
    "var_values": "independent values, by the variance",
    "noise": "noise of a normalized value",
    "noise_ratio": "noise in training, relative",
}
SETTINGS = {
    "lr": "learning rate",
    "std": "initial std",
    "gain": "initial std · √inputs",
    "fan_in": "initial std divided by √inputs",
    "steps": "steps",
    "epochs": "epochs",
    "batch_size": "size of a mini-batch",
    "hidden": "units in a layer",
    "depth": "hidden layers",
    "images": "images looked at",
    "every": "steps between evaluations",
    "accuracy_every": "steps between looks at the accuracy",
    "batches": "mini-batches",
    "held_out": "images held out",
    "batch_norm": "batch normalization",
    "eps": "ε",
    "warm_up": "share of warm-up",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "label_smoothing": "label smoothing",
    "shift": "pixels of shift",
    "nonlinearity": "nonlinearity",
    "kind": "done to the inputs",
    "through": "gradient goes through",
    "affine": "scale and shift",
    "bias": "biases",
    "network": "network",
    "norm": "place of BN",
    "dropout": "dropout",
    "p": "share set to 0",
    "inputs": "inputs",
    "positions": "statistics per position",
}
#: Arms, whole or the part before settings such as ``-lr0.1-std0.03``.
ARMS = {
    "plain": "without BN",
    "bn": "with BN",
    "plain-careful": "without BN, larger weights",
    "plain-fast": "without BN, rate 1",
    "bn-fast": "with BN, rate 1",
    "plain-5x": "without BN, 5 × the rate",
    "bn-5x": "with BN, 5 × the rate",
    # normalization that the gradient ignores
    "centre": "centred, gradient ignores it",
    "centre-no-bias": "centred, no biases, gradient ignores it",
    "centre-through": "centred",
    "scale": "normalized, gradient ignores it",
    "scale-through": "normalized",
    "affine": "normalized, scale and shift, gradient ignores it",
    "affine-through": "normalized, scale and shift",
    "sigmoid-neither": "sigmoids, gradient through neither",
    "sigmoid-mean": "sigmoids, gradient through the mean",
    "sigmoid-variance": "sigmoids, gradient through the variance",
    "sigmoid-both": "sigmoids, gradient through both",
    "relu-neither": "ReLU, gradient through neither",
    "relu-mean": "ReLU, gradient through the mean",
    "relu-variance": "ReLU, gradient through the variance",
    "relu-both": "ReLU, gradient through both",
    # places of batch norm, and of dropout, around the nonlinearity g
    "none-none": "no BN, no dropout",
    "none-before": "no BN, dropout before g",
    "none-after": "no BN, dropout after g",
    "before-none": "BN before g, no dropout",
    "before-before": "BN and dropout before g",
    "before-after": "BN before g, dropout after g",
    "after-none": "BN after g, no dropout",
    "after-before": "BN after g, dropout before g",
    "after-after": "BN and dropout after g",
    "relu-none": "ReLU, no BN",
    "relu-before": "ReLU, BN before",
    "relu-after": "ReLU, BN after",
    "sigmoid-none": "sigmoid, no BN",
    "sigmoid-before": "sigmoid, BN before",
    "sigmoid-after": "sigmoid, BN after",
    "tanh-none": "tanh, no BN",
    "tanh-before": "tanh, BN before",
    "tanh-after": "tanh, BN after",
    "per-map": "statistics per map",
    "per-position": "statistics per position",
    # what is done to the inputs
    "raw-plain": "raw values, without BN",
    "raw-bn": "raw values, with BN",
    "standard-plain": "standardized, without BN",
    "standard-bn": "standardized, with BN",
    "units-plain": "mixed units, without BN",
    "units-bn": "mixed units, with BN",
    "map-plain": "BN of the image, without BN",
    "map-bn": "BN of the image, with BN",
    "pixel-plain": "BN of each pixel, without BN",
    "pixel-bn": "BN of each pixel, with BN",
    # two networks
    "mnist": "MNIST",
    "cifar": "CIFAR-10",
}
#: What stands behind an arm's name, and what it is called.
BEHIND = {"lr": "rate", "std": "std", "gain": "std · √inputs"}


class LabelError(Exception):
    """A key has no words; the message says where to write them."""


def figure(name: str) -> str:
    """Return what a figure is called, 'drift, layer 3' for ``drift_3``."""
    if name in FIGURES:
        return FIGURES[name]
    if found := re.fullmatch(r"(\w+)_(\d+)", name):
        return f"{figure(found[1])}, layer {found[2]}"
    if found := re.fullmatch(r"(\w+)_inference", name):
        return f"{figure(found[1])} in inference mode"
    if found := re.fullmatch(r"training_(\w+)", name):
        return f"{figure(found[1])} in training mode"
    raise LabelError(f"the figure {name!r} has no words in book/_ext/labels.py")


def setting(name: str) -> str:
    """Return what a setting is called, 'learning rate' for ``lr``."""
    if name not in SETTINGS:
        raise LabelError(f"the setting {name!r} has no words in book/_ext/labels.py")
    return SETTINGS[name]


def arm(name: str) -> str:
    """Return what an arm is called, 'with BN, rate 0.1, std 0.3' for ``bn-lr0.1-std0.3``."""
    if name in ARMS:
        return ARMS[name]
    if (found := re.fullmatch(r"(.+)-([a-z]+)([0-9.]+)", name)) and found[2] in BEHIND:
        return f"{arm(found[1])}, {BEHIND[found[2]]} {found[3]}"
    raise LabelError(f"the arm {name!r} has no words in book/_ext/labels.py")
