"""The training loop of the NumPy networks."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from bn.data import minibatches
from bn.layers import SGD, Sequential, softmax_cross_entropy

#: Called with the step and the mean loss since the last call; the network is in inference mode.
Evaluate = Callable[[int, float], None]


def train(
    network: Sequential,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    steps: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
    evaluate: Evaluate,
    evaluate_at: Iterable[int],
    progress: str | None = None,
) -> int:
    """Train with plain SGD on shuffled mini-batches.

    Parameters
    ----------
    network : Sequential
        Changed in place.
    images, labels : array, first axis N
        Pixels are cast to float32, one mini-batch at a time.
    steps, batch_size, lr
        Length of training in mini-batches, examples in each, learning rate.
    rng : numpy.random.Generator
        Orders the examples.
    evaluate, evaluate_at
        A function, and the numbers of steps after which to call it (0 = before the first).
    progress : str, optional
        Label of a progress bar; none is shown without it.

    Returns
    -------
    int
        Steps done: fewer than `steps` if the loss stopped being finite.
    """
    optimizer = SGD(network, lr=lr)
    due = frozenset(evaluate_at)
    losses: list[float] = []

    def look(step: int) -> None:
        network.train(False)
        evaluate(step, float(np.mean(losses)) if losses else math.nan)
        network.train(True)
        losses.clear()

    # Matrices this small are multiplied faster by one thread than by two.
    with threadpool_limits(1, "blas"), tqdm(
        total=steps, desc=progress, disable=progress is None, unit=" steps", mininterval=0.5
    ) as bar:  # fmt: skip
        if 0 in due:
            look(0)
        batches = minibatches(images, labels, batch_size, rng=rng, steps=steps)
        for step, (x, label) in enumerate(batches, start=1):
            try:
                logits = network.forward(x.astype(np.float32))
            except OverflowError:  # batch norm refuses what diverged
                return step - 1
            loss, dlogits = softmax_cross_entropy(logits, label)
            if not math.isfinite(loss):
                return step - 1
            network.backward(dlogits)
            optimizer.step()
            losses.append(loss)
            bar.update()
            if step in due:
                look(step)
    return steps
