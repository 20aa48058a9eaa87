"""Which network learns which lag: the temporal order task of Pascanu, Mikolov and Bengio (2013), with an LSTM.

Two of L symbols matter, one in the second tenth and one in the sixth tenth of the sequence; the class is which two they
were, in order. Every method is trained at growing lengths with several seeds, until it is wrong on less than 1 % of
fresh sequences or the iterations are used up. A seed that failed at two lengths in a row is not tried at longer ones;
it counts as failed there, and its row has no iterations. Results are written after every run, and a run that was
stopped goes on where it was: ``python -m benchmarks.vanishing``. Chapter 1.3 of the book draws what is stored.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks.provenance import provenance

OUT = Path(__file__).parent / "results" / "vanishing.json"

SYMBOLS, CLASSES = 6, 4  # A and B matter, the other four distract
PLACES = ((0.1, 0.2), (0.5, 0.6))
BATCH, RNN_UNITS = 20, 50
LSTM_UNITS = 23  # the size whose number of parameters comes closest to that of the RNN
LENGTHS = [10, 20, 30, 50, 100, 150, 200]
ALPHA = 2.0  # factor of the regulariser
SGD_RATE, ADAM_RATE, MAX_NORM, NO_CLIPPING = 0.01, 0.003, 1.0, 1e300
SOLVED, CHECK_EVERY, CHECK_ON, CONFIRM_ON = 0.01, 250, 1000, 10_000

#: Name to network, optimiser, clipping, regulariser.
METHODS = {
    "RNN, SGD": ("rnn", "sgd", False, False),
    "RNN, SGD + clipping": ("rnn", "sgd", True, False),
    "RNN, SGD + clipping + regulariser": ("rnn", "sgd", True, True),
    "RNN, Adam + clipping": ("rnn", "adam", True, False),
    "LSTM, Adam + clipping": ("lstm", "adam", True, False),
}


def temporal_order(rng: np.random.Generator, B: int, L: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw symbols (L, B), numbers from 0 to 5, and classes (B,), numbers from 0 to 3.

    Parameters
    ----------
    rng
        Source of random numbers.
    B, L
        Number and length of the sequences.
    """
    symbols = rng.integers(2, SYMBOLS, (L, B))
    which = rng.integers(0, 2, (2, B))
    for bit, (low, high) in zip(which, PLACES, strict=True):
        symbols[rng.integers(int(low * L), int(high * L), B), np.arange(B)] = bit
    return symbols, 2 * which[0] + which[1]


def smart_tanh(rng: np.random.Generator, H: int = RNN_UNITS) -> dict[str, np.ndarray]:
    """Initial weights as printed in the paper: sparse, spectral radius 0.95.

    Parameters
    ----------
    rng
        Source of random numbers.
    H
        Hidden units.
    """
    W_hh = rng.normal(scale=0.01, size=(H, H))
    for row in W_hh:
        row[rng.permutation(H)[15:]] = 0.0
    W_hh *= 0.95 / np.abs(np.linalg.eigvals(W_hh)).max()
    return {
        "W_ih": rng.normal(scale=0.01, size=(H, SYMBOLS)),
        "W_hh": W_hh,
        "b": np.zeros(H),
        "V": rng.normal(scale=0.01, size=(CLASSES, H)),
        "b_out": np.zeros(CLASSES),
    }


def rnn_states(p: dict[str, np.ndarray], symbols: np.ndarray) -> np.ndarray:
    """Hidden states (L + 1, B, H); slot 0 is the initial state, zero.

    Parameters
    ----------
    p
        The parameters.
    symbols
        Numbers of the symbols (L, B). A one-hot input times a matrix is a column of the matrix.
    """
    L, B = symbols.shape
    drive = p["W_ih"].T[symbols] + p["b"]  # (L, B, H)
    h = np.zeros((L + 1, B, p["b"].size))
    W = np.ascontiguousarray(p["W_hh"].T)
    for t in range(L):
        np.tanh(drive[t] + h[t] @ W, out=h[t + 1])
    return h


def rnn_gradients(
    p: dict[str, np.ndarray], symbols: np.ndarray, classes: np.ndarray, alpha: float
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the cross-entropy and its gradients, with the gradient of the regulariser on top.

    Parameters
    ----------
    p
        The parameters.
    symbols, classes
        A batch: (L, B) and (B,).
    alpha
        Factor of the regulariser; 0 leaves it out.
    """
    L, B = symbols.shape
    h = rnn_states(p, symbols)
    loss, d_scores = ln.cross_entropy_loss(h[L] @ p["V"].T + p["b_out"], classes)
    dz, dh = np.empty((L, B, h.shape[2])), np.empty((L + 1, B, h.shape[2]))
    slopes = 1.0 - h[1:] ** 2
    dh[L] = d_scores @ p["V"]
    for t in range(L, 0, -1):
        np.multiply(dh[t], slopes[t - 1], out=dz[t - 1])
        np.matmul(dz[t - 1], p["W_hh"], out=dh[t - 1])
    H = h.shape[2]
    flat = dz.reshape(-1, H)
    by_symbol = np.zeros((SYMBOLS, H))
    np.add.at(by_symbol, symbols.reshape(-1), flat)
    grads = {
        "W_ih": by_symbol.T,
        "W_hh": flat.T @ h[:L].reshape(-1, H),
        "b": flat.sum(axis=0),
        "V": d_scores.T @ h[L],
        "b_out": d_scores.sum(axis=0),
    }
    if alpha:
        grads["W_hh"] = grads["W_hh"] + alpha * regulariser_gradient(dh, dz)
    return loss, grads


def regulariser_gradient(dh: np.ndarray, dz: np.ndarray) -> np.ndarray:
    r"""Gradient of :math:`\Omega` with respect to W_hh, everything else held still, as in the paper.

    :math:`\Omega` is the mean over steps and sequences of :math:`(q - 1)^2`, where q is the factor by which the squared
    norm of the gradient changes in one step back. Steps where hardly any gradient is left do not count.

    Parameters
    ----------
    dh
        Gradients of the states (L + 1, B, H).
    dz
        Gradients of the pre-activations (L, B, H); ``dh[t - 1]`` is ``dz[t - 1] @ W_hh``.
    """
    size = (dh[1:] ** 2).sum(axis=2, keepdims=True)
    alive = size >= 1e-20
    safe = np.where(alive, size, 1.0)
    before = dh[:-1]
    q = (before**2).sum(axis=2, keepdims=True) / safe
    pull = np.where(alive, 4.0 * (q - 1.0) / safe, 0.0) * before
    H = dh.shape[2]
    return dz.reshape(-1, H).T @ pull.reshape(-1, H) / max(int(alive.sum()), 1)


class _RNN:
    """The network of the paper."""

    def __init__(self, seed: int) -> None:
        self.parameters = smart_tanh(np.random.default_rng([seed, 1]))
        self.grads = {name: np.zeros_like(value) for name, value in self.parameters.items()}

    def step(self, symbols: np.ndarray, classes: np.ndarray, alpha: float) -> float:
        loss, grads = rnn_gradients(self.parameters, symbols, classes, alpha)
        for name, value in grads.items():
            self.grads[name][...] = value
        return loss

    def answers(self, symbols: np.ndarray) -> np.ndarray:
        return (rnn_states(self.parameters, symbols)[-1] @ self.parameters["V"].T + self.parameters["b_out"]).argmax(1)


class _LSTM:
    """An LSTM of as many parameters, with forget bias 1."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self.model = ln.Sequential(
            ln.LSTM(SYMBOLS, LSTM_UNITS, seed=rng), ln.LastStep(), ln.Dense(LSTM_UNITS, CLASSES, seed=rng)
        )
        self.parameters, self.grads = self.model.parameters, self.model.grads
        H = LSTM_UNITS
        self.parameters["0.bias_ih_l0"][:] = 0.0
        self.parameters["0.bias_hh_l0"][:] = 0.0
        self.parameters["0.bias_ih_l0"][H : 2 * H] = 1.0

    def step(self, symbols: np.ndarray, classes: np.ndarray, alpha: float) -> float:
        self.model.zero_grad()
        loss, d_scores = ln.cross_entropy_loss(self.model(np.eye(SYMBOLS, dtype=np.float32)[symbols]), classes)
        self.model.backward(d_scores)
        return loss

    def answers(self, symbols: np.ndarray) -> np.ndarray:
        self.model.eval()
        scores = self.model(np.eye(SYMBOLS, dtype=np.float32)[symbols])
        self.model.train()
        return scores.argmax(1)


def train(method: str, L: int, seed: int, iterations: int) -> dict:
    """Train once; stop when the network is wrong on less than 1 % of 10,000 fresh sequences.

    Parameters
    ----------
    method
        A key of :data:`METHODS`.
    L
        Length of the sequences.
    seed
        Of weights and data.
    iterations
        Give up after as many updates.
    """
    start = time.perf_counter()
    kind, optimiser, clip, regularise = METHODS[method]
    network = _RNN(seed) if kind == "rnn" else _LSTM(seed)
    step = ln.SGD(network, SGD_RATE) if optimiser == "sgd" else ln.Adam(network, ADAM_RATE)
    rng = np.random.default_rng([seed, L, 3])

    def wrong(n: int) -> float:
        errors = []
        for _ in range(n // CHECK_ON):
            symbols, classes = temporal_order(rng, CHECK_ON, L)
            errors.append(float(np.mean(network.answers(symbols) != classes)))
        return float(np.mean(errors))

    error, best, largest, n = 1.0, 1.0, 0.0, 0
    for n in range(1, iterations + 1):
        network.step(*temporal_order(rng, BATCH, L), ALPHA if regularise else 0.0)
        norm = ln.clip_grad_norm(network.grads, MAX_NORM if clip else NO_CLIPPING)
        largest = max(largest, norm)
        step.step()
        if n % CHECK_EVERY == 0:
            error = wrong(CHECK_ON)
            if error < SOLVED:
                error = wrong(CONFIRM_ON)
            best = min(best, error)
            if error < SOLVED:
                break
    return {
        "method": method,
        "length": L,
        "seed": seed,
        "solved": error < SOLVED,
        "iterations": n,
        "error": round(error, 5),
        "best_error": round(best, 5),
        "largest_norm": float(f"{largest:.4g}"),
        "seconds": round(time.perf_counter() - start, 1),
    }


def run(out: Path, lengths: list[int], seeds: int, iterations: int) -> dict:
    """Compute what is missing in ``out`` and return everything.

    Parameters
    ----------
    out
        Where the results are written, and read from if a run was stopped.
    lengths
        Lengths of the sequences.
    seeds
        Runs per method and length.
    iterations
        Updates after which a run is given up.
    """
    study = {
        "iterations": iterations,
        "batch": BATCH,
        "rnn_units": RNN_UNITS,
        "lstm_units": LSTM_UNITS,
        "alpha": ALPHA,
        "sgd_rate": SGD_RATE,
        "adam_rate": ADAM_RATE,
        "max_norm": MAX_NORM,
        "solved_below": SOLVED,
    }
    result = _resumed(out, study)
    done = {(row["method"], row["length"], row["seed"]): row for row in result["runs"]}
    for seed in range(seeds):  # the outer loop: a run that is stopped early has few seeds, but all methods and lengths
        for method in METHODS:
            failures = 0
            for L in sorted(lengths):
                row = done.get((method, L, seed))
                if row is None:
                    hopeless = failures >= 2
                    row = not_tried(method, L, seed) if hopeless else train(method, L, seed, iterations)
                    result["runs"].append(row)
                    _write(out, result)
                failures = 0 if row["solved"] else failures + 1
    return result


def not_tried(method: str, L: int, seed: int) -> dict:
    """Return the row of a run that is counted as failed because two shorter lengths were.

    Parameters
    ----------
    method, L, seed
        As in :func:`train`.
    """
    return {"method": method, "length": L, "seed": seed, "solved": False, "iterations": 0}


def _resumed(out: Path, study: dict) -> dict:
    """What an earlier run of the same sources left behind, or a new start."""
    fresh = {"provenance": provenance(seed=0), "study": study, "runs": []}
    if not out.is_file():
        return fresh
    old = json.loads(out.read_text(encoding="utf-8"))
    if old["study"] != study or old["provenance"]["versions"] != fresh["provenance"]["versions"]:
        return fresh
    return old


def _write(out: Path, result: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")  # a run that is killed while writing must not spoil what is there
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out)


def success_rates(result: dict) -> dict[str, dict[int, tuple[int, int]]]:
    """Method to length to (runs solved, runs).

    Parameters
    ----------
    result
        What :func:`run` returned.
    """
    rates: dict[str, dict[int, tuple[int, int]]] = {}
    for row in result["runs"]:
        solved, runs = rates.setdefault(row["method"], {}).get(row["length"], (0, 0))
        rates[row["method"]][row["length"]] = (solved + row["solved"], runs + 1)
    return rates


def main() -> None:
    """Parse the arguments, run, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vanishing",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the results")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="lengths of the sequences")
    parser.add_argument("--seeds", type=int, default=5, help="runs per method and length")
    parser.add_argument("--iterations", type=int, default=20_000, help="updates after which a run is given up")
    options = parser.parse_args()
    for method, by_length in success_rates(run(**vars(options))).items():
        print(f"{method:36}" + "  ".join(f"L={L}: {solved}/{runs}" for L, (solved, runs) in sorted(by_length.items())))


if __name__ == "__main__":
    main()
