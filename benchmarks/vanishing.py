"""Which network learns which lag: the temporal order task of Pascanu, Mikolov and Bengio (2013), with an LSTM.

Two of L symbols matter, one in the second tenth and one in the sixth tenth of the sequence; the class is which two they
were, in order. Every method is trained at growing lengths with several seeds, until it is wrong on less than 1 % of
fresh sequences or the iterations are used up. A seed that failed at two lengths in a row is not tried at longer ones;
it counts as failed there, and its row has no iterations. Results are written after every length, and a run that was
stopped goes on where it was: ``python -m benchmarks.vanishing``. Chapter 1.3 of the book draws what is stored.
"""

import argparse
import json
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
SOLVED, CHECK_EVERY, CHECK_ON, CONFIRM_ON = 0.01, 250, 500, 10_000

#: Name to network, optimiser, clipping, factor of the regulariser, forget bias.
METHODS = {
    "RNN, SGD": ("rnn", "sgd", False, 0.0, 0.0),
    "RNN, SGD + clipping": ("rnn", "sgd", True, 0.0, 0.0),
    "RNN, SGD + clipping + regulariser": ("rnn", "sgd", True, ALPHA, 0.0),
    "RNN, Adam + clipping": ("rnn", "adam", True, 0.0, 0.0),
    "LSTM with forget bias 1, Adam + clipping": ("lstm", "adam", True, 0.0, 1.0),
    "LSTM with forget bias 5, Adam + clipping": ("lstm", "adam", True, 0.0, 5.0),
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


def rnn_states(networks: list[dict[str, np.ndarray]], symbols: np.ndarray) -> np.ndarray:
    """Run several networks side by side, each on its own batch. Returns states (N, L + 1, B, H); slot 0 is zero.

    Parameters
    ----------
    networks
        The parameters of N networks.
    symbols
        Numbers of the symbols (N, L, B). A one-hot input times a matrix is a column of the matrix.
    """
    N, L, _ = symbols.shape
    drive = np.stack([p["W_ih"].T[own] + p["b"] for p, own in zip(networks, symbols, strict=True)])  # (N, L, B, H)
    h = np.zeros((N, L + 1, *drive.shape[2:]), drive.dtype)
    W = np.stack([p["W_hh"].T for p in networks])
    for t in range(L):
        np.tanh(drive[:, t] + h[:, t] @ W, out=h[:, t + 1])
    return h


def rnn_gradients(
    networks: list[dict[str, np.ndarray]], symbols: np.ndarray, classes: np.ndarray, alpha: float
) -> list[tuple[float, dict[str, np.ndarray]]]:
    """Cross-entropy and gradients of each network, with the gradient of the regulariser on top.

    Parameters
    ----------
    networks
        The parameters of N networks.
    symbols, classes
        A batch for each: (N, L, B) and (N, B).
    alpha
        Factor of the regulariser; 0 leaves it out.
    """
    L = symbols.shape[1]
    h = rnn_states(networks, symbols)
    W = np.stack([p["W_hh"] for p in networks])
    slopes = 1 - h[:, 1:] ** 2
    dz, dh = np.empty_like(slopes), np.empty_like(h)
    losses, d_scores = [], []
    for n, p in enumerate(networks):
        loss, d = ln.cross_entropy_loss(h[n, L] @ p["V"].T + p["b_out"], classes[n])
        losses.append(loss)
        d_scores.append(d)
        dh[n, L] = d @ p["V"]
    for t in range(L, 0, -1):
        np.multiply(dh[:, t], slopes[:, t - 1], out=dz[:, t - 1])
        dh[:, t - 1] = dz[:, t - 1] @ W
    results = []
    H = h.shape[3]
    for n, d in enumerate(d_scores):
        flat = dz[n].reshape(-1, H)
        one_hot = np.eye(SYMBOLS, dtype=h.dtype)[symbols[n].reshape(-1)]
        grads = {
            "W_ih": flat.T @ one_hot,
            "W_hh": flat.T @ h[n, :L].reshape(-1, H),
            "b": flat.sum(axis=0),
            "V": d.T @ h[n, L],
            "b_out": d.sum(axis=0),
        }
        if alpha:
            grads["W_hh"] = grads["W_hh"] + alpha * regulariser_gradient(dh[n], dz[n])
        results.append((losses[n], grads))
    return results


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
    safe = np.where(alive, size, size.dtype.type(1))
    before = dh[:-1]
    q = (before**2).sum(axis=2, keepdims=True) / safe
    pull = np.where(alive, 4 * (q - 1) / safe, size.dtype.type(0)) * before
    H = dh.shape[2]
    return dz.reshape(-1, H).T @ pull.reshape(-1, H) / max(int(alive.sum()), 1)


class _RNN:
    """The network of the paper."""

    def __init__(self, seed: int) -> None:
        initial = smart_tanh(np.random.default_rng([seed, 1]))
        self.parameters = {name: value.astype(np.float32) for name, value in initial.items()}
        self.grads = {name: np.zeros_like(value) for name, value in self.parameters.items()}

    @staticmethod
    def learn(networks: "list[_RNN]", symbols: np.ndarray, classes: np.ndarray, alpha: float) -> None:
        results = rnn_gradients([network.parameters for network in networks], symbols, classes, alpha)
        for network, (_, grads) in zip(networks, results, strict=True):
            for name, value in grads.items():
                network.grads[name][...] = value

    @staticmethod
    def answers(networks: "list[_RNN]", symbols: np.ndarray) -> np.ndarray:
        h = rnn_states([network.parameters for network in networks], symbols)[:, -1]
        scores = [own @ n.parameters["V"].T + n.parameters["b_out"] for own, n in zip(h, networks, strict=True)]
        return np.stack(scores).argmax(axis=2)


class _LSTM:
    """An LSTM of as many parameters."""

    def __init__(self, seed: int, forget_bias: float = 1.0) -> None:
        rng = np.random.default_rng([seed, 2])
        self.model = ln.Sequential(
            ln.LSTM(SYMBOLS, LSTM_UNITS, seed=rng), ln.LastStep(), ln.Dense(LSTM_UNITS, CLASSES, seed=rng)
        )
        self.parameters, self.grads = self.model.parameters, self.model.grads
        self.parameters["0.bias_ih_l0"][:] = 0.0
        self.parameters["0.bias_hh_l0"][:] = 0.0
        self.parameters["0.bias_ih_l0"][LSTM_UNITS : 2 * LSTM_UNITS] = forget_bias

    @staticmethod
    def learn(networks: "list[_LSTM]", symbols: np.ndarray, classes: np.ndarray, alpha: float) -> None:
        for network, own, answer in zip(networks, symbols, classes, strict=True):
            network.model.zero_grad()
            scores = network.model(np.eye(SYMBOLS, dtype=np.float32)[own])
            network.model.backward(ln.cross_entropy_loss(scores, answer)[1])

    @staticmethod
    def answers(networks: "list[_LSTM]", symbols: np.ndarray) -> np.ndarray:
        scores = []
        for network, own in zip(networks, symbols, strict=True):
            network.model.eval()
            scores.append(network.model(np.eye(SYMBOLS, dtype=np.float32)[own]))
            network.model.train()
        return np.stack(scores).argmax(axis=2)


def train(method: str, L: int, seeds: list[int], iterations: int) -> list[dict]:
    """Train one network per seed, side by side; each stops when it is wrong on less than 1 % of 10,000 fresh sequences.

    Parameters
    ----------
    method
        A key of :data:`METHODS`.
    L
        Length of the sequences.
    seeds
        Of weights and data, one per network.
    iterations
        Give up after as many updates.
    """
    kind, optimiser, clip, alpha, forget_bias = METHODS[method]
    networks = {seed: _RNN(seed) if kind == "rnn" else _LSTM(seed, forget_bias) for seed in seeds}
    family = type(networks[seeds[0]])
    optimisers = {s: ln.SGD(n, SGD_RATE) if optimiser == "sgd" else ln.Adam(n, ADAM_RATE) for s, n in networks.items()}
    rngs = {seed: np.random.default_rng([seed, L, 3]) for seed in seeds}
    rows = {
        seed: {
            "method": method,
            "length": L,
            "seed": seed,
            "solved": False,
            "iterations": 0,
            "error": 1.0,
            "best_error": 1.0,
            "largest_norm": 0.0,
        }
        for seed in seeds
    }

    def draw(active: list[int], B: int) -> tuple[np.ndarray, np.ndarray]:
        symbols, classes = zip(*(temporal_order(rngs[seed], B, L) for seed in active), strict=True)
        return np.stack(symbols), np.stack(classes)

    def wrong(active: list[int], n: int) -> np.ndarray:
        errors = np.zeros(len(active))
        for _ in range(n // CHECK_ON):
            symbols, classes = draw(active, CHECK_ON)
            errors += (family.answers([networks[seed] for seed in active], symbols) != classes).mean(axis=1)
        return errors / (n // CHECK_ON)

    active = list(seeds)
    for n in range(1, iterations + 1):
        family.learn([networks[seed] for seed in active], *draw(active, BATCH), alpha)
        for seed in active:
            norm = ln.clip_grad_norm(networks[seed].grads, MAX_NORM if clip else NO_CLIPPING)
            rows[seed]["largest_norm"] = max(rows[seed]["largest_norm"], float(f"{norm:.4g}"))
            rows[seed]["iterations"] = n
            optimisers[seed].step()
        if n % CHECK_EVERY == 0:
            for seed, error in zip(active, wrong(active, CHECK_ON), strict=True):
                confirmed = wrong([seed], CONFIRM_ON)[0] if error < SOLVED else error
                row = rows[seed]
                row["error"] = round(float(confirmed), 5)
                row["best_error"] = min(row["best_error"], row["error"])
                row["solved"] = bool(confirmed < SOLVED)
            active = [seed for seed in active if not rows[seed]["solved"]]
            if not active:
                break
    return list(rows.values())


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
    for method in METHODS:
        failures = dict.fromkeys(range(seeds), 0)
        for L in sorted(lengths):
            missing = [seed for seed in failures if (method, L, seed) not in done]
            hopeful = [seed for seed in missing if failures[seed] < 2]
            rows = train(method, L, hopeful, iterations) if hopeful else []
            rows += [not_tried(method, L, seed) for seed in missing if failures[seed] >= 2]
            result["runs"] += rows
            done |= {(method, L, row["seed"]): row for row in rows}
            _write(out, result)
            for seed in failures:
                failures[seed] = 0 if done[method, L, seed]["solved"] else failures[seed] + 1
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
    """What an earlier run left behind, or a new start; another commit that goes on with it is written down."""
    fresh = {"provenance": provenance(seed=0), "study": study, "runs": []}
    if not out.is_file():
        return fresh
    old = json.loads(out.read_text(encoding="utf-8"))
    if old["study"] != study or old["provenance"]["versions"] != fresh["provenance"]["versions"]:
        return fresh
    sources = [old["provenance"], *old.get("continued", [])]
    if fresh["provenance"]["commit"] != sources[-1]["commit"]:
        old["continued"] = [*sources[1:], fresh["provenance"]]
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
    parser.add_argument("--iterations", type=int, default=10_000, help="updates after which a run is given up")
    options = parser.parse_args()
    for method, by_length in success_rates(run(**vars(options))).items():
        print(f"{method:36}" + "  ".join(f"L={L}: {solved}/{runs}" for L, (solved, runs) in sorted(by_length.items())))


if __name__ == "__main__":
    main()
