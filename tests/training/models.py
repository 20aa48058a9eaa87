"""Small models with hand-written gradients: training is tested without any layer of the package."""

import numpy as np


class Bag:
    """Parameters and gradients, and nothing else."""

    def __init__(self, **arrays):
        self.parameters = {name: np.array(array) for name, array in arrays.items()}
        self.grads = {name: np.zeros_like(array) for name, array in self.parameters.items()}


class Line(Bag):
    """y = x @ weight + bias."""

    def __init__(self, features=3, dtype="float64", seed=0):
        rng = np.random.default_rng(seed)
        super().__init__(weight=rng.normal(size=(features, 1)).astype(dtype), bias=np.zeros(1, dtype))
        self.mode = None

    def __call__(self, x):
        self.x = x
        return x @ self.parameters["weight"] + self.parameters["bias"]

    def backward(self, dy):
        assert self.mode == "train"
        self.grads["weight"] += self.x.T @ dy
        self.grads["bias"] += dy.sum(axis=0)
        return dy @ self.parameters["weight"].T

    def zero_grad(self):
        for grad in self.grads.values():
            grad[...] = 0

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "eval"
