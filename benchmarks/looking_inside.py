"""Train the networks that chapter 2.7 opens: character models of the standard library's source code.

An LSTM and a plain RNN with as many parameters, and two more LSTMs with other seeds. A network is written when it is
finished, and a run that was stopped goes on with the next one: ``python -m benchmarks.looking_inside``. Weights go to
an ``.npz`` file next to the ``.json`` file, rounded to float16, and every number is computed with the rounded weights.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks.provenance import provenance
from lstm_numba.teaching import looking_inside as protocol
from lstm_numba.training import CosineSchedule

OUT = Path(__file__).parent / "results" / "looking_inside.json"
#: Cell and hidden size of each network, and the seed of its initial weights. Sizes give equal numbers of parameters.
NETWORKS = {"LSTM": ("LSTM", 128, 0), "RNN": ("RNN", 273, 0), "LSTM 1": ("LSTM", 128, 1), "LSTM 2": ("LSTM", 128, 2)}
#: Networks whose weights are stored; of the others only what was measured.
STORED = ("LSTM", "RNN")
SETTINGS = {"batch": 32, "steps": 128, "learning_rate": {"LSTM": 4e-3, "RNN": 1e-3}, "warmup": 50, "clip_norm": 1.0}


def run(out: Path, characters: int, networks: tuple[str, ...]) -> dict:
    """Train what is missing in ``out`` and return everything.

    Parameters
    ----------
    out
        Where results are written, and read from if a run was stopped. Weights go beside it.
    characters
        Characters to train each network on; the text is repeated if it is shorter.
    networks
        Which of :data:`NETWORKS`.
    """
    text = protocol.read_modules(protocol.TRAINING)
    parts = {part: protocol.read_modules(names) for part, names in protocol.HELD_OUT.items()}
    study = {
        "characters": characters,
        "settings": SETTINGS,
        "training_text": {"characters": len(text), "sha256": protocol.digest(text)},
        "held_out": {part: {"characters": len(t), "sha256": protocol.digest(t)} for part, t in parts.items()},
    }
    made = provenance(seed=0)
    result, weights = _resumed(out, study, made)
    for name in networks:
        if name in result["networks"]:
            continue
        kind, hidden, seed = NETWORKS[name]
        model = protocol.untrained(kind, hidden, seed)
        start = time.perf_counter()
        curve = train(model, protocol.encode(text), characters, SETTINGS["learning_rate"][kind])
        seconds = time.perf_counter() - start
        rounded = {key: value.astype(np.float16) for key, value in model.parameters.items()}
        for key, value in model.parameters.items():
            value[...] = rounded[key]
        result["networks"][name] = {
            "cell": kind,
            "hidden_size": hidden,
            "seed": seed,
            "parameters": protocol.parameter_count(model),
            "seconds": round(seconds, 1),
            "commit": made["commit"],
            "training_bits": curve,
            "bits": {part: round(bits_per_character(model, t), 4) for part, t in parts.items()},
            "best_units": best_units(model, parts) if kind == "LSTM" else None,
        }
        if name in STORED:
            weights |= {f"{name}/{key}": value for key, value in rounded.items()}
        _write(out, result, weights)
    return result


def train(model: ln.Sequential, codes: np.ndarray, characters: int, learning_rate: float) -> list[list[float]]:
    """Truncated BPTT on parallel streams of the text, the state carried from one piece to the next.

    Parameters
    ----------
    model
        Trained in place and left in inference mode.
    codes
        The text, (N,).
    characters
        How many characters to see in all.
    learning_rate
        Largest learning rate of Adam; it rises for some steps and falls along half a cosine.

    Returns
    -------
    list of [characters seen, bits per character]
        Mean training loss over each fiftieth of the run.
    """
    B, T = SETTINGS["batch"], SETTINGS["steps"]
    stream = (len(codes) - 1) // B
    x = codes[: B * stream].reshape(B, stream).T  # (stream, B): column b is the b-th part of the text
    target = codes[1 : B * stream + 1].reshape(B, stream).T
    updates = max(1, characters // (B * T))
    optimiser = ln.Adam(model, lr=learning_rate)
    schedule = CosineSchedule(total=max(updates, SETTINGS["warmup"] + 1), warmup=SETTINGS["warmup"], final=0.02)
    recurrent, readout = model.layers
    model.train()
    state, position, losses, curve = None, 0, [], []
    for update in range(updates):
        if position + T > stream:
            state, position = None, 0
        piece = slice(position, position + T)
        optimiser.lr = learning_rate * schedule.factor(update)
        model.zero_grad()
        scores, state = protocol.run(model, x[piece], state)
        value, gradient = ln.cross_entropy_loss(scores, target[piece])
        recurrent.backward(
            readout.backward(gradient)
        )  # the gradient stops at the start of the piece, the state does not
        ln.clip_grad_norm(model.grads, SETTINGS["clip_norm"], error_if_nonfinite=True)
        optimiser.step()
        losses.append(value / np.log(2))
        position += T
        if (update + 1) % max(1, updates // 50) == 0:
            curve.append([(update + 1) * B * T, round(float(np.mean(losses)), 4)])
            losses = []
            print(f"{curve[-1][0]:>12,} characters  {curve[-1][1]:.3f} bits", flush=True)
    model.eval()
    return curve


def bits_per_character(model: ln.Sequential, text: str) -> float:
    """Mean cost of predicting each character of a text from those before it, read once from the zero state.

    Parameters
    ----------
    model
        In inference mode.
    text
        In the alphabet of the protocol.
    """
    codes = protocol.encode(text)
    scores, _ = protocol.run(model, codes[:-1, None])
    value, _ = ln.cross_entropy_loss(scores[:, 0], codes[1:])
    return value / float(np.log(2))


def best_units(model: ln.Sequential, parts: dict[str, str]) -> dict:
    """For each property, the unit that tells it best on one part, and how well it does on the other.

    Parameters
    ----------
    model
        A character model with an LSTM.
    parts
        Texts to choose and to judge on.
    """
    rank, label = {}, {}
    for part, text in parts.items():
        rank[part] = protocol.ranks(protocol.cell_states(model, text))
        label[part] = protocol.marks(text)
    found = {}
    for name in protocol.PROPERTIES:
        chosen = protocol.auc_of_ranks(rank["choose"], label["choose"][name])
        judged = protocol.auc_of_ranks(rank["judge"], label["judge"][name])
        unit = int(np.argmax(np.abs(chosen - 0.5)))
        sign = 1 if chosen[unit] > 0.5 else -1
        found[name] = {
            "unit": unit,
            "chosen": round(float(0.5 + sign * (chosen[unit] - 0.5)), 4),
            "judged": round(float(0.5 + sign * (judged[unit] - 0.5)), 4),
        }
    return found


def _resumed(out: Path, study: dict, made: dict) -> tuple[dict, dict]:
    """What an earlier run with the same text and settings left behind, or a new start."""
    if out.is_file() and out.with_suffix(".npz").is_file():
        old = json.loads(out.read_text(encoding="utf-8"))
        if old["study"] == json.loads(json.dumps(study)):
            return old, dict(np.load(out.with_suffix(".npz")))
    return {"provenance": made, "study": study, "networks": {}}, {}


def _write(out: Path, result: dict, weights: dict[str, np.ndarray]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out.with_suffix(".npz"), **weights)
    temporary = out.with_suffix(".tmp")  # a run that is killed while writing must not spoil what is there
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out)


def main() -> None:
    """Parse the arguments, run, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.looking_inside",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where to write the results; weights go beside it")
    parser.add_argument("--characters", type=int, default=24_000_000, help="characters to train each network on")
    parser.add_argument(
        "--networks", nargs="+", default=["LSTM", "RNN", "LSTM 1"], choices=list(NETWORKS), help="which to train"
    )
    options = parser.parse_args()
    for name, found in run(options.out, options.characters, tuple(options.networks))["networks"].items():
        print(f"{name:8} {found['parameters']:>8,} parameters  {found['bits']['judge']:.3f} bits")


if __name__ == "__main__":
    main()
