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
    # learning rates
    "sampled_loss": "loss on 10 000 training images",
    "grown": "growth of a filter's length, last hidden layer",
    "gradient_first": "gradient in the first hidden layer",
    "gradient_last": "gradient in the last hidden layer",
    "idle": "share of idle units",
    "then_loss": "loss after the second phase",
    "then_accuracy": "accuracy after the second phase",
    "norm": "length of a filter",
    "turn": "angle of a step (radians)",
    "turn_steady": "angle of a step, divided by the steady one",
    "cosine": "cosine of filter and gradient",
    "pythagoras": "growth of the squared length, off the sum of squared steps by",
    # singular values
    **{f"p{p}": f"singular values, {p}th percentile" for p in (5, 25, 50, 75, 95)},
    "rms": "singular values, root mean square",
    "near": "singular values from one half to two, share",
    "largest": "largest singular value",
    "growth": "growth of the squared gradient by layer, downwards",
    "gradient": "gradient in the second layer, relative to the last",
    "alike": "cosine of two examples, last layer",
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
    # running and recomputed statistics
    "loss_running": "test loss, running statistics",
    "accuracy_recomputed": "test accuracy, statistics recomputed",
    "own_gain": "more with statistics of the domain",
    # one example among companions
    "noise_4": "noise of a normalized value, batches of 4",
    "noise_theory_4": "the same by theory, batches of 4",
    "noise_leading_4": "its leading term, batches of 4",
    "noise_16": "noise of a normalized value, batches of 16",
    "noise_theory_16": "the same by theory, batches of 16",
    "noise_leading_16": "its leading term, batches of 16",
    "noise_theory_60": "the same by theory, batches of 60",
    "noise_leading_60": "its leading term, batches of 60",
    "flips_4": "share of changed classes, batches of 4",
    "spread_4": "spread of the probability, batches of 4",
    "flips_16": "share of changed classes, batches of 16",
    "spread_16": "spread of the probability, batches of 16",
    "flips_60": "share of changed classes, batches of 60",
    "spread_60": "spread of the probability, batches of 60",
    "flips_250": "share of changed classes, batches of 250",
    "spread_250": "spread of the probability, batches of 250",
    # groups that share statistics, and dropout
    "gap": "test loss minus training loss",
    "accuracy_gap": "training accuracy minus test accuracy",
    "test_accuracy_whole": "test accuracy, statistics of all training images",
    "test_loss_whole": "test loss, statistics of all training images",
    "training_loss_whole": "training loss, statistics of all training images",
    "test_accuracy_groups": "test accuracy in training mode, in groups",
    "test_loss_groups": "test loss in training mode, in groups",
    "flips": "share of changed classes",
}
#: Figures that several estimates of the statistics have, as in ``mean_1_0.1_end``: what was
#: measured (in which layer), the estimate, and after how many steps or from how many mini-batches.
MEASURED = {
    "accuracy": "test accuracy",
    "test_loss": "test loss",
    "lost": "accuracy lost",
    "gap": "test loss added",
    "mean": "error of the mean",
    "std": "error of the standard deviation",
    "var": "variance",
}
WHILE_TRAINING = {
    "recomputed": "true statistics",
    "corrected": "momentum 0.01, start removed",
    "cumulative": "plain average",
}
AFTER_TRAINING = {
    "algorithm2": "Algorithm 2",
    "pooled": "pooled",
    "ema": "moving average",
    "one": "all as one mini-batch",
}
#: Mistakes at inference, and what they are compared with.
MISTAKES = {
    "healthy": "no mistake",
    "own": "statistics of the test images",
    "batches": "training mode",
    "convention": "momentum 0.99",
    "few_updates": "momentum 0.001",
    "wrong_mode": "training mode, two at a time",
    "wrong_mode_sorted": "training mode, a digit at a time",
    "sorted_pass": "after a sorted pass",
    "nan": "after an infinite pixel",
    "not_saved": "statistics not saved",
    "unfrozen": "after negatives",
    "domain": "another domain",
    "domain_own": "another domain, its own statistics",
    "domain_batches": "another domain, training mode",
}
OF_MISTAKE = re.compile(rf"(accuracy|lost)_({'|'.join(MISTAKES)})")
OF_ESTIMATE = re.compile(
    rf"({'|'.join(MEASURED)})(?:_(\d))?"
    rf"_({'|'.join([*WHILE_TRAINING, *AFTER_TRAINING])}|0\.\d+)(?:_(\d+|end))?"
)
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
    "start": "initial weights",
    "decay": "weight decay",
    "growth": "growing rate in place of decay",
    "other_lr": "rate of the other parameters",
    "then_lr": "rate of the second phase",
    "then_steps": "steps of the second phase",
    "watch": "filters followed",
    "recompute": "mini-batches recomputed from",
    "by_class": "sorted by class",
    "flipped": "share of pixels flipped",
    # one example among companions; groups and dropout
    "examples": "examples followed",
    "draws": "draws of companions",
    "orders": "orders of the images",
    "group": "examples that share statistics",
    "dropout": "dropout",
    "norm": "place of batch normalization",
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
    # learning rates
    "plain-hidden": "without BN, hidden weights alone",
    "bn-hidden": "with BN, hidden weights alone",
    "bn-slow": "with BN, rate 0.1",
    "bn-short": "with BN, short filters",
    "bn-long": "with BN, long filters",
    # singular values
    "gaussian-linear": "with BN, Gaussian, linear",
    "gaussian-relu": "with BN, Gaussian, ReLU",
    "gaussian-sigmoid": "with BN, Gaussian, sigmoids",
    "orthogonal-linear": "with BN, orthogonal, linear",
    "orthogonal-relu": "with BN, orthogonal, ReLU",
    "orthogonal-sigmoid": "with BN, orthogonal, sigmoids",
    "plain-relu": "without BN, ReLU",
    "bn-relu": "with BN, ReLU",
    "bn-orthogonal": "with BN, orthogonal",
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
    # running and recomputed statistics
    "shuffled": "shuffled",
    "sorted": "sorted by class",
    "sixty": "mini-batches of 60",
    "four": "mini-batches of four",
    # groups that share statistics, and dropout
    "group4": "groups of 4",
    "group8": "groups of 8",
    "group16": "groups of 16",
    "group32": "groups of 32",
    "group128": "whole mini-batches",
    "plain-0": "without BN, no dropout",
    "plain-25": "without BN, dropout 0.25",
    "plain-50": "without BN, dropout 0.5",
    "bn-0": "with BN, no dropout",
    "bn-25": "with BN, dropout 0.25",
    "bn-50": "with BN, dropout 0.5",
}
#: What stands behind an arm's name, and what it is called.
BEHIND = {
    "lr": "rate",
    "std": "std",
    "gain": "std · √inputs",
    "decay": "decay",
    "growth": "growing rate in place of decay",
}


class LabelError(Exception):
    """A key has no words; the message says where to write them."""


def figure(name: str) -> str:
    """Return what a figure is called, 'drift, layer 3' for ``drift_3``."""
    if name in FIGURES:
        return FIGURES[name]
    if found := OF_MISTAKE.fullmatch(name):
        return f"{MEASURED[found[1]]}, {MISTAKES[found[2]]}"
    if found := OF_ESTIMATE.fullmatch(name):
        return _of_estimate(*found.groups())
    if found := re.fullmatch(r"(\w+)_(\d+)", name):
        return f"{figure(found[1])}, layer {found[2]}"
    if found := re.fullmatch(r"start_(\w+)", name):
        return f"{figure(found[1])}, before training"
    if found := re.fullmatch(r"(\w+)_inference", name):
        return f"{figure(found[1])} in inference mode"
    if found := re.fullmatch(r"training_(\w+)", name):
        return f"{figure(found[1])} in training mode"
    raise LabelError(f"the figure {name!r} has no words in book/_ext/labels.py")


def _of_estimate(what: str, layer: str | None, estimate: str, when: str | None) -> str:
    words = [MEASURED[what], f"layer {layer}" if layer else ""]
    if estimate in AFTER_TRAINING:
        words += [AFTER_TRAINING[estimate], f"{when} mini-batches" if when else ""]
    else:
        words.append(WHILE_TRAINING.get(estimate, f"momentum {estimate}"))
        words.append("at the end" if when == "end" else f"after {when} steps")
    return ", ".join(word for word in words if word)


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
