"""Causal attention and a Transformer block against PyTorch, over the length of the sequence.

Both sides have the same weights and inputs, and must agree before anything is timed: the attention core with
``scaled_dot_product_attention``, the pre-norm block with ``TransformerEncoderLayer``. The memory is what NumPy
allocates at its peak in one call.
"""

import argparse
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

import lstm_numba as ln
from benchmarks import store
from benchmarks.measure import paired_times, ratio, summary
from benchmarks.provenance import provenance
from lstm_numba.cpu import attention

N, D = 4, 32
E, F = N * D, 4 * N * D
STEPS = 4096  # steps of a batch, whatever the length of its sequences

Run = Callable[[], list[np.ndarray]]


def attention_runs(T: int, B: int, training: bool) -> tuple[Run, Run]:
    """Our attention core and PyTorch's on the same queries, keys and values."""
    import torch

    rng = np.random.default_rng(0)
    z, do = rng.normal(size=(T, B, 3, N, D)).astype(np.float32), rng.normal(size=(T, B, N, D)).astype(np.float32)
    q, k, v = (z[:, :, n] for n in range(3))
    scale = D**-0.5

    def ours() -> list[np.ndarray]:
        o, lse = attention.attention_forward(q, k, v, scale, causal=True)
        return [o, *attention.attention_backward(do, q, k, v, o, lse, scale, causal=True)] if training else [o]

    z_t = torch.tensor(z, requires_grad=training)
    do_t = torch.tensor(do).permute(1, 2, 0, 3)

    def theirs() -> list[np.ndarray]:
        q_t, k_t, v_t = z_t.permute(2, 1, 3, 0, 4)  # (3, B, N, T, D)
        o = torch.nn.functional.scaled_dot_product_attention(q_t, k_t, v_t, is_causal=True)
        if not training:
            return [o.permute(2, 0, 1, 3).numpy()]
        z_t.grad = None
        o.backward(do_t)
        return [o.detach().permute(2, 0, 1, 3).numpy(), *(z_t.grad[:, :, n].numpy() for n in range(3))]

    return ours, theirs


def block_runs(T: int, B: int, training: bool) -> tuple[Run, Run]:
    """Our pre-norm block and PyTorch's."""
    import torch

    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(T, B, E)).astype(np.float32) for _ in range(2))
    block = ln.TransformerEncoderLayer(E, N, F, activation="gelu", causal=True, seed=0)
    block = block.train() if training else block.eval()
    module = torch.nn.TransformerEncoderLayer(E, N, F, 0.0, "gelu", norm_first=True).train(training)
    module.load_state_dict({name: torch.tensor(value) for name, value in block.state_dict().items()})
    mask = torch.nn.Transformer.generate_square_subsequent_mask(T)
    x_t, dy_t = torch.tensor(x, requires_grad=training), torch.tensor(dy)

    def ours() -> list[np.ndarray]:
        if not training:
            return [block(x)]
        block.zero_grad()
        return [block(x), block.backward(dy), *block.grads.values()]

    def theirs() -> list[np.ndarray]:
        if not training:
            with torch.inference_mode():
                return [module(x_t, mask, is_causal=True).numpy()]
        module.zero_grad()
        x_t.grad = None
        y = module(x_t, mask, is_causal=True)
        y.backward(dy_t)
        gradients = dict(module.named_parameters())
        return [y.detach().numpy(), x_t.grad.numpy(), *(gradients[name].grad.numpy() for name in block.grads)]

    return ours, theirs


RUNS = {"attention": attention_runs, "block": block_runs}


def peak_memory(run: Run) -> int:
    """Peak of the bytes that one call allocates."""
    gc.collect()
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def measure(what: str, T: int, training: bool, rounds: int, seconds: float) -> dict:
    """Compare, then time, one case."""
    B = max(1, STEPS // T)
    ours, theirs = RUNS[what](T, B, training)
    for mine, expected in zip(ours(), theirs(), strict=True):
        scale = max(1.0, float(np.abs(expected).max()))
        if not np.abs(mine - expected).max() < 1e-4 * scale:
            raise AssertionError(f"{what}, T={T}, training={training}: results differ")
    times = paired_times({"lstm_numba": ours, "PyTorch": theirs}, rounds, seconds).seconds
    row = {
        "what": what,
        "T": T,
        "B": B,
        "training": training,
        "time": summary(times["lstm_numba"]),
        "torch_time": summary(times["PyTorch"]),
        "faster_than_torch": ratio(times["PyTorch"], times["lstm_numba"]),
        "peak_bytes": peak_memory(ours),
    }
    mode = "forward and backward" if training else "forward"
    print(
        f"{what:>9}, T={T:5}, B={B:4}, {mode:>20}: {row['time']['median_us'] / 1e3:8.2f} ms, "
        f"{row['faster_than_torch']['of_medians']:5.2f} times as fast as PyTorch, "
        f"peak {row['peak_bytes'] / 2**20:7.1f} MiB",
        flush=True,
    )
    return row


def run(lengths: tuple[int, ...], rounds: int, seconds: float) -> list[dict]:
    """Measure both, forward alone and with the backward pass."""
    return [measure(what, T, training, rounds, seconds) for what in RUNS for training in (False, True) for T in lengths]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command line."""
    parser.add_argument("--quick", action="store_true", help="two lengths and few rounds")
    parser.add_argument("--out", type=Path, help="where to write; default benchmarks/results/attention.json")


def main(options: argparse.Namespace) -> int:
    """Measure and write; returns the number of failures."""
    import torch

    torch.set_num_threads(ln.get_num_threads())
    rows = run((16, 64), 3, 0.005) if options.quick else run((16, 32, 64, 128, 256, 512, 1024), 9, 0.05)
    out = options.out or (store.SCRATCH if options.quick else store.RESULTS) / "attention.json"
    about = f"causal attention and pre-norm block, float32, E={E}, {N} heads, {F} hidden units, {STEPS} steps a batch"
    result = {"about": about, "provenance": provenance(0), "threads": ln.get_num_threads(), "rows": rows}
    store.write_json(out, result)
    return 0
