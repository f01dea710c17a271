"""Training a network of NumPy layers: plain SGD on shuffled mini-batches."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bn.data import minibatches
from bn.experiments.training import DivergedError, Learner
from bn.layers import SGD, Sequential, softmax_cross_entropy

Batch = tuple[NDArray[np.uint8], NDArray[np.integer]]


class NumpyLearner(Learner):
    """A :class:`bn.layers.Sequential` with plain SGD. It takes seconds, and is not resumed.

    Parameters
    ----------
    network : Sequential
    images, labels : array, first axis N
        Pixels are cast to float32, one mini-batch at a time.
    batch_size, lr
        Examples in a mini-batch, learning rate.
    rng : numpy.random.Generator
        Orders the examples.
    """

    def __init__(
        self,
        network: Sequential,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer],
        *,
        batch_size: int,
        lr: float,
        rng: np.random.Generator,
    ) -> None:
        self.network: Sequential = network
        self.images, self.labels = images, labels
        self.batch_size, self.rng = batch_size, rng
        self.optimizer = SGD(network, lr=lr)

    def batches(self, done: int, steps: int) -> Iterator[Batch]:
        """Return the mini-batches of all steps; none can have been done."""
        if done:
            raise ValueError(f"{done} steps have been done, expected 0")
        if not steps:  # a network that is looked at, and not trained
            return iter(())
        return minibatches(self.images, self.labels, self.batch_size, rng=self.rng, steps=steps)

    def step(self, batch: Batch) -> float:
        """Do one step and return its loss."""
        x, labels = batch
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is a result
            try:
                logits = self.network.forward(x.astype(np.float32))
            except OverflowError as error:  # batch norm refuses it
                raise DivergedError from error
            loss, dlogits = softmax_cross_entropy(logits, labels)
            if not math.isfinite(loss):
                raise DivergedError
            self.network.backward(dlogits)
            self.optimizer.step()
        return loss

    def while_training(self) -> AbstractContextManager[Any]:
        """Multiply with one thread: matrices this small are multiplied faster by one than two."""
        limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
        return limits
