"""Causal attention, the multi-head layer and a Transformer block against PyTorch.

Both sides have the same weights and inputs, and must agree before anything is timed: the attention core with
``scaled_dot_product_attention``, the layer with ``MultiheadAttention``, the pre-norm block with
``TransformerEncoderLayer``. In inference PyTorch's layers have a fast path, which is the slower one for long sequences:
both are timed, and the faster one counts. Every case is written to a journal as soon as it is measured: a run that was
cut off goes on where it stopped if the sources are the same. The memory is what NumPy allocates at its peak in one
call.
"""

import argparse
import gc
import statistics
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.measure import geometric_mean, paired_times, ratio, summary
from benchmarks.provenance import provenance
from lstm_numba.cpu import attention

N = 4  # heads
OURS, TORCH, SLOW_PATH = "lstm_numba", "PyTorch", "PyTorch without its fast path"


class Case(NamedTuple):
    """One comparison."""

    what: str  # "core", "layer" or "block"
    training: bool
    T: int
    B: int
    E: int  # features, of all heads together


Run = Callable[[], list[np.ndarray]]


def core_runs(case: Case) -> dict[str, Run]:
    """Attention of given queries, keys and values, which lie in memory as PyTorch likes it best: (B, N, T, D)."""
    import torch

    _, training, T, B, E = case
    D = E // N
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(B, N, T, D)).astype(np.float32) for _ in range(4)]
    q, k, v, do = (array.transpose(2, 0, 1, 3) for array in arrays)
    scale = D**-0.5

    def fresh() -> np.ndarray:
        return np.empty((B, N, T, D), np.float32).transpose(2, 0, 1, 3)

    def ours() -> list[np.ndarray]:
        o, lse = attention.attention_forward(q, k, v, scale, causal=True, out=fresh(), keep=training)
        if not training:
            return [o]
        out = fresh(), fresh(), fresh()
        return [o, *attention.attention_backward(do, q, k, v, o, lse, scale, causal=True, out=out)]

    inputs = [torch.tensor(array, requires_grad=training) for array in arrays[:3]]
    do_t = torch.tensor(arrays[3])

    def theirs() -> list[np.ndarray]:
        if not training:
            with torch.inference_mode():
                o = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
            return [o.permute(2, 0, 1, 3).numpy()]
        for tensor in inputs:
            tensor.grad = None
        o = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
        o.backward(do_t)
        return [t.detach().permute(2, 0, 1, 3).numpy() for t in (o, *(tensor.grad for tensor in inputs))]

    return {OURS: ours, TORCH: theirs}


def _layer_runs(case: Case, layer: ln.MultiheadAttention | ln.TransformerEncoderLayer, module, call) -> dict[str, Run]:
    """Our layer and PyTorch's, which ``call(x, mask)`` runs, with the same weights."""
    import torch

    _, training, T, B, E = case
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(B, T, E)).astype(np.float32) for _ in range(2))
    layer = layer.train() if training else layer.eval()
    module.train(training)
    module.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    mask = torch.nn.Transformer.generate_square_subsequent_mask(T)
    x_t, dy_t = torch.tensor(x, requires_grad=training), torch.tensor(dy)

    def ours() -> list[np.ndarray]:
        if not training:
            return [layer(x)]
        layer.zero_grad()
        return [layer(x), layer.backward(dy), *layer.grads.values()]

    def theirs() -> list[np.ndarray]:
        if not training:
            with torch.inference_mode():
                return [call(x_t, mask).numpy()]
        module.zero_grad()
        x_t.grad = None
        y = call(x_t, mask)
        y.backward(dy_t)
        gradients = dict(module.named_parameters())
        return [y.detach().numpy(), x_t.grad.numpy(), *(gradients[name].grad.numpy() for name in layer.grads)]

    def on_the_slow_path() -> list[np.ndarray]:
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return theirs()
        finally:
            torch.backends.mha.set_fastpath_enabled(True)

    return {OURS: ours, TORCH: theirs} | ({} if training else {SLOW_PATH: on_the_slow_path})


def layer_runs(case: Case) -> dict[str, Run]:
    """The multi-head layer: projections and attention."""
    import torch

    module = torch.nn.MultiheadAttention(case.E, N, batch_first=True)

    def call(x, mask):
        return module(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0]

    layer = ln.MultiheadAttention(case.E, N, causal=True, batch_first=True, seed=0)
    return _layer_runs(case, layer, module, call)


def block_runs(case: Case) -> dict[str, Run]:
    """The pre-norm block with GELU and 4 E hidden units."""
    import torch

    options = {"activation": "gelu", "norm_first": True, "batch_first": True}
    module = torch.nn.TransformerEncoderLayer(case.E, N, 4 * case.E, 0.0, **options)

    def call(x, mask):
        return module(x, mask, is_causal=True)

    layer = ln.TransformerEncoderLayer(case.E, N, 4 * case.E, causal=True, seed=0, **options)
    return _layer_runs(case, layer, module, call)


RUNS = {"core": core_runs, "layer": layer_runs, "block": block_runs}


def peak_memory(run: Run) -> int:
    """Peak of the bytes that one call allocates."""
    gc.collect()
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def measure(case: Case, rounds: int, seconds: float) -> dict:
    """Compare, then time, one case."""
    runs = RUNS[case.what](case)
    mine = runs[OURS]()
    for name in list(runs)[1:]:
        for ours, theirs in zip(mine, runs[name](), strict=True):
            # Both sides round to float32, and sums over all steps grow with their number.
            if not np.abs(ours - theirs).max() < 1e-4 * max(1.0, float(np.abs(theirs).max())):
                raise AssertionError(f"{case}: results differ from those of {name}")
    samples = paired_times(runs, rounds, seconds, budget=2.0).seconds
    medians = {name: statistics.median(times) for name, times in samples.items() if name != OURS}
    torch_name = min(medians, key=medians.__getitem__)
    row = case._asdict() | {
        "times": {name: summary(times) for name, times in samples.items()},
        "torch": torch_name,
        "ratio": ratio(samples[torch_name], samples[OURS]),
        "peak_bytes": peak_memory(runs[OURS]),
    }
    print(
        f"{case.what:>5}, T={case.T:5}, B={case.B:3}, E={case.E:4}, "
        f"{'forward and backward' if case.training else 'forward':>20}: "
        f"{row['times'][OURS]['median_us']:10.1f} us, {row['ratio']['of_medians']:5.2f} times as fast as {torch_name}",
        flush=True,
    )
    return row


def cases(lengths: tuple[int, ...], batches: tuple[int, ...], features: tuple[int, ...]) -> list[Case]:
    """All combinations."""
    return [
        Case(what, training, T, B, E)
        for E in features
        for T in lengths
        for B in batches
        for what in RUNS
        for training in (False, True)
    ]


def run(chosen: list[Case], rounds: int, seconds: float, journal: store.Journal | None = None) -> list[dict]:
    """Measure what the journal does not hold yet."""
    found = {}
    for entry in journal.lines() if journal is not None else []:
        if "what" in entry:
            found[Case(*(entry[name] for name in Case._fields))] = entry
    for case in chosen:
        if case not in found:
            found[case] = measure(case, rounds, seconds)
            if journal is not None:
                journal.append(found[case])
    return [found[case] for case in chosen]


def means(rows: list[dict]) -> list[dict]:
    """Geometric mean and worst case of the ratios, for each thing measured and each mode."""
    result = []
    for what in RUNS:
        for training in (False, True):
            ratios = [r["ratio"]["of_medians"] for r in rows if r["what"] == what and r["training"] == training]
            if ratios:
                result.append(
                    {
                        "what": what,
                        "training": training,
                        "cases": len(ratios),
                        "mean": geometric_mean(ratios),
                        "worst": min(ratios),
                        "below_one": sum(value < 1 for value in ratios),
                    }
                )
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="two lengths and few rounds")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/attention.json")


def main(options: argparse.Namespace) -> int:
    """Measure and write; returns the number of failures."""
    import torch

    torch.set_num_threads(ln.get_num_threads())
    if options.quick:
        rows, journal = run(cases((16, 64), (1, 8), (64,)), 3, 0.005), None
    else:
        chosen = cases((16, 64, 256, 1024), (1, 8, 32), (64, 256))
        journal = store.Journal(store.SCRATCH / "attention.jsonl", {"threads": ln.get_num_threads()}, 0)
        rows = run(chosen, 7, 0.02, journal)
    about = f"causal, float32, {N} heads, {ln.get_num_threads()} threads; block with GELU and 4 E hidden units"
    source = provenance(0) if journal is None else journal.header["provenance"]
    result = {"about": about, "provenance": source, "threads": ln.get_num_threads(), "means": means(rows), "rows": rows}
    store.write_json(options.out or (store.SCRATCH if options.quick else store.RESULTS) / "attention.json", result)
    if journal is not None:
        journal.remove()
    return 0
