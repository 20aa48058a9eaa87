"""SGD, Adam and AdamW with the semantics of ``torch.optim``: same update, same order of operations.

They update ``model.parameters`` in place from ``model.grads``; arithmetic stays in each parameter's own
dtype.
"""

from typing import Any

import numpy as np

from .protocol import HasParameters, named_pairs, real_number, require


class Optimiser:
    """Base class: owns the learning rate, the step count and one array of each kind for each parameter.

    Parameters
    ----------
    model : object with ``parameters`` and ``grads``
        Two dictionaries of float32 or float64 arrays with the same keys and shapes.
    lr : float
        Learning rate, >= 0. Assign to ``optimiser.lr`` to change it between steps.
    """

    #: Names of the per-parameter arrays an algorithm keeps between steps.
    buffer_names: tuple[str, ...] = ()
    #: Names of the settings that are saved with the state.
    setting_names: tuple[str, ...] = ()

    def __init__(self, model: HasParameters, lr: float):
        require(model, ("parameters", "grads"), type(self).__name__)
        self.model = model
        self.lr = real_number("lr", lr, minimum=0)
        self.step_count = 0
        pairs = list(named_pairs(model))
        if not pairs:
            raise ValueError(f"model: expected at least one parameter, {type(model).__name__} has none")
        for name, parameter, _ in pairs:
            if parameter.dtype.kind != "f":
                raise TypeError(f"model.parameters[{name!r}]: expected a float array, got {parameter.dtype}")
        self.buffers = {
            kind: {name: np.zeros_like(parameter) for name, parameter, _ in pairs} for kind in self.buffer_names
        }

    def step(self) -> None:
        """Update every parameter once from its gradient.

        Raises
        ------
        ValueError, TypeError
            If a gradient does not fit its parameter, or the model's parameters are not those of construction.
        """
        pairs = list(named_pairs(self.model))  # all checks before the first update: a failed step changes nothing
        for kind, arrays in self.buffers.items():
            expected = {name: a.shape for name, a in arrays.items()}
            received = {name: parameter.shape for name, parameter, _ in pairs}
            if expected != received:
                raise ValueError(f"model.parameters: {type(self).__name__} keeps {kind} for {expected}, got {received}")
        self.step_count += 1
        for name, parameter, grad in pairs:
            self._update(name, parameter, grad)

    def _update(self, name: str, parameter: np.ndarray, grad: np.ndarray) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _update")

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs, as copies in a flat dictionary.

        Returns
        -------
        dict
            ``"optimiser"`` (class name), ``"step_count"``, ``"lr"``, the other settings, and one array
            ``"<buffer>/<parameter>"`` for each buffer and parameter.
        """
        state: dict[str, Any] = {
            "optimiser": type(self).__name__,
            "step_count": self.step_count,
            "lr": self.lr,
        }
        state |= {name: getattr(self, name) for name in self.setting_names}
        for kind, arrays in self.buffers.items():
            state |= {f"{kind}/{name}": array.copy() for name, array in arrays.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, settings included.

        Raises
        ------
        ValueError
            If the state belongs to another algorithm or another model; nothing is changed then.
        TypeError
            If an array has another dtype.
        """
        own = self.state_dict()
        if state.get("optimiser") != own["optimiser"]:
            raise ValueError(f"state: expected one of {own['optimiser']}, got one of {state.get('optimiser')!r}")
        if state.keys() != own.keys():
            raise ValueError(
                f"state: missing {sorted(own.keys() - state.keys())}, unknown {sorted(state.keys() - own.keys())}"
            )
        for key, value in own.items():
            if not isinstance(value, np.ndarray):
                continue
            received = np.asarray(state[key])
            if received.shape != value.shape:
                raise ValueError(f"state[{key!r}]: expected shape {value.shape}, got {received.shape}")
            if received.dtype != value.dtype:
                raise TypeError(f"state[{key!r}]: expected dtype {value.dtype}, got {received.dtype}")
        for name in ("lr", "step_count", *self.setting_names):
            setattr(self, name, state[name])
        for kind, arrays in self.buffers.items():
            for name, array in arrays.items():
                array[...] = state[f"{kind}/{name}"]

    def __repr__(self) -> str:
        settings = "".join(f", {name}={getattr(self, name)!r}" for name in self.setting_names)
        return f"{type(self).__name__}(lr={self.lr!r}{settings})"


class SGD(Optimiser):
    """Stochastic gradient descent with optional momentum.

    Parameters
    ----------
    model : object with ``parameters`` and ``grads``
        What to train.
    lr : float
        Learning rate, >= 0.
    momentum : float
        How much of the last direction is kept, >= 0.
    nesterov : bool
        Look ahead along the momentum; needs ``momentum > 0``.
    weight_decay : float
        Adds ``weight_decay * parameter`` to each gradient (L2 penalty), >= 0.

    References
    ----------
    Sutskever, I., Martens, J., Dahl, G. and Hinton, G. (2013), On the importance of initialization and
    momentum in deep learning, ICML. As in PyTorch, the learning rate multiplies the whole velocity.

    Examples
    --------
    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> dense = ln.Dense(1, 1, bias=False, dtype="float64", seed=0)
    >>> dense.parameters["weight"][...] = 2.0
    >>> dense.grads["weight"][...] = 0.5
    >>> ln.SGD(dense, lr=0.1).step()
    >>> dense.parameters["weight"]
    array([[1.95]])
    """

    setting_names = ("momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        model: HasParameters,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        self.momentum = real_number("momentum", momentum, minimum=0)
        self.nesterov = bool(nesterov)
        self.weight_decay = real_number("weight_decay", weight_decay, minimum=0)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: expected momentum > 0, got momentum=0.0")
        # Without momentum there is nothing to remember, so nothing is allocated.
        self.buffer_names = ("velocity",) if self.momentum else ()
        super().__init__(model, lr)

    def _update(self, name: str, parameter: np.ndarray, grad: np.ndarray) -> None:
        if self.weight_decay:
            grad = grad + self.weight_decay * parameter
        if self.momentum:
            velocity = self.buffers["velocity"][name]
            velocity *= self.momentum
            velocity += grad
            grad = grad + self.momentum * velocity if self.nesterov else velocity
        parameter -= self.lr * grad


class Adam(Optimiser):
    """Adam: step sizes scaled by running moments of each gradient.

    Parameters
    ----------
    model : object with ``parameters`` and ``grads``
        What to train.
    lr : float
        Learning rate, >= 0.
    betas : (float, float)
        Decay of the running mean and of the running mean square, each in [0, 1).
    eps : float
        Added to the denominator, >= 0.
    weight_decay : float
        Adds ``weight_decay * parameter`` to each gradient, >= 0. :class:`AdamW` decays the parameter instead.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015), Adam: a method for stochastic optimization, ICLR, algorithm 1.

    Examples
    --------
    The first step of Adam is close to `lr` in every coordinate, whatever the size of the gradient:

    >>> import numpy as np
    >>> import lstm_numba as ln
    >>> dense = ln.Dense(2, 1, bias=False, dtype="float64", seed=0)
    >>> before = dense.parameters["weight"].copy()
    >>> dense.grads["weight"][...] = [[1000.0, -0.001]]
    >>> ln.Adam(dense, lr=0.1).step()
    >>> np.round(dense.parameters["weight"] - before, 4)
    array([[-0.1,  0.1]])
    """

    buffer_names = ("first_moment", "second_moment")
    setting_names = ("betas", "eps", "weight_decay")

    def __init__(
        self,
        model: HasParameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas: expected two numbers in [0, 1), got {betas!r}")
        self.betas = (
            real_number("betas[0]", betas[0], minimum=0, below=1),
            real_number("betas[1]", betas[1], minimum=0, below=1),
        )
        self.eps = real_number("eps", eps, minimum=0)
        self.weight_decay = real_number("weight_decay", weight_decay, minimum=0)
        super().__init__(model, lr)

    def _decay(self, parameter: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """Apply the weight decay and return the gradient that enters the moments."""
        return grad + self.weight_decay * parameter if self.weight_decay else grad

    def _update(self, name: str, parameter: np.ndarray, grad: np.ndarray) -> None:
        grad = self._decay(parameter, grad)
        beta1, beta2 = self.betas
        m, v = self.buffers["first_moment"][name], self.buffers["second_moment"][name]
        m += (1 - beta1) * (grad - m)
        v *= beta2
        v += (1 - beta2) * grad * grad
        # Both moments start at 0 and are too small at first; these two factors undo exactly that.
        correction1 = 1 - beta1**self.step_count
        correction2 = 1 - beta2**self.step_count
        denominator = np.sqrt(v) / correction2**0.5 + self.eps
        parameter -= (self.lr / correction1) * m / denominator


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameter shrinks by ``lr * weight_decay`` before the Adam step.

    Parameters
    ----------
    model : object with ``parameters`` and ``grads``
        What to train.
    lr : float
        Learning rate, >= 0.
    betas : (float, float)
        Decay of the running mean and of the running mean square, each in [0, 1).
    eps : float
        Added to the denominator, >= 0.
    weight_decay : float
        Share of each parameter removed per unit of learning rate, >= 0. PyTorch's default, 0.01.

    References
    ----------
    Loshchilov, I. and Hutter, F. (2019), Decoupled weight decay regularization, ICLR, algorithm 2.

    Examples
    --------
    With a zero gradient only the decay acts:

    >>> import lstm_numba as ln
    >>> dense = ln.Dense(1, 1, bias=False, dtype="float64", seed=0)
    >>> dense.parameters["weight"][...] = 1.0
    >>> ln.AdamW(dense, lr=0.1, weight_decay=0.5).step()
    >>> dense.parameters["weight"]
    array([[0.95]])
    """

    def __init__(
        self,
        model: HasParameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(model, lr, betas, eps, weight_decay)

    def _decay(self, parameter: np.ndarray, grad: np.ndarray) -> np.ndarray:
        parameter *= 1 - self.lr * self.weight_decay
        return grad
