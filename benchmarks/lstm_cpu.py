"""`ln.LSTM` on the CPU against `torch.nn.LSTM` and the NumPy reference.

Nothing is timed before it is right: all candidates must agree with PyTorch first. Everything a user pays for is in
the time: the Python call, validation, allocation of the results.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

import lstm_numba as ln
from benchmarks.provenance import provenance
from benchmarks.timing import paired_times, ratio, summary

SHAPES = [(T, B, H) for T in (32, 128) for B in (1, 16, 64) for H in (16, 64, 256)]


def _candidates(T, B, I, H, training, rng):
    """Functions that do the same work, and the arrays they return, to be compared before timing."""
    ours = ln.LSTM(I, H, seed=0)
    reference = ln.LSTM(I, H, backend="reference", seed=0)
    theirs = torch.nn.LSTM(I, H)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    x = rng.normal(size=(T, B, I)).astype(np.float32)
    dy = rng.normal(size=(T, B, H)).astype(np.float32)
    their_x, their_dy = torch.from_numpy(x), torch.from_numpy(dy)

    def forward(layer):
        return lambda: layer(x)[0]

    def forward_backward(layer):
        def run():
            layer.zero_grad()
            layer(x)
            return layer.backward(dy)[0]

        return run

    def their_forward():
        with torch.inference_mode():
            return theirs(their_x)[0].numpy()

    def their_forward_backward():
        theirs.zero_grad()
        leaf = their_x.detach().requires_grad_()
        theirs(leaf)[0].backward(their_dy)
        return leaf.grad.numpy()

    if training:
        return {
            "torch": their_forward_backward,
            "cpu": forward_backward(ours),
            "reference": forward_backward(reference),
        }
    ours.eval()
    reference.eval()
    theirs.eval()
    return {"torch": their_forward, "cpu": forward(ours), "reference": forward(reference)}


def run(out: Path, *, threads: int, rounds: int, seconds: float, seed: int) -> dict:
    """Time all shapes, write the results after each, and return them.

    Parameters
    ----------
    out
        JSON file to write.
    threads
        Threads for PyTorch and for the Numba kernels. NumPy's BLAS is left alone.
    rounds, seconds
        Samples per candidate and the length of one, see :func:`benchmarks.timing.paired_times`.
    seed
        Seed of inputs.
    """
    torch.set_num_threads(threads)
    ln.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    result = {
        "about": "LSTM, float32, I = H, one layer",
        "provenance": provenance(seed),
        "threads": threads,
        "rows": [],
    }
    for training in (False, True):
        for T, B, H in SHAPES:
            candidates = _candidates(T, B, H, H, training, rng)
            expected = candidates["torch"]()
            for name, candidate in candidates.items():
                error = ln.gradcheck.relative_error(candidate(), expected)
                if not error < 1e-4:
                    raise AssertionError(f"{name} differs from PyTorch by {error:.1e} at T={T} B={B} H={H}")
            samples = paired_times(candidates, rounds, seconds)
            row = {"training": training, "T": T, "B": B, "I": H, "H": H}
            row |= {name: summary(values) for name, values in samples.items()}
            row["speedup_over_torch"] = ratio(samples["torch"], samples["cpu"])
            row["speedup_over_reference"] = ratio(samples["reference"], samples["cpu"])
            flops = 2 * T * B * 4 * H * (H + H) * (3 if training else 1)
            row["gflops"] = flops / row["cpu"]["median_us"] / 1e3
            result["rows"].append(row)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=1) + "\n")
            print(
                f"{'training ' if training else 'inference'} T={T:4d} B={B:3d} H={H:4d}   torch "
                f"{row['torch']['median_us']:10.1f} us   cpu {row['cpu']['median_us']:10.1f} us   "
                f"speed-up over torch {row['speedup_over_torch']['median']:5.2f}, "
                f"over the reference {row['speedup_over_reference']['median']:6.2f}",
                flush=True,
            )
    return result


def geometric_mean(result: dict, training: bool, key: str = "speedup_over_torch") -> float:
    """Geometric mean over the shapes of the median speed-up."""
    logs = [math.log(row[key]["median"]) for row in result["rows"] if row["training"] == training]
    return math.exp(sum(logs) / len(logs))
