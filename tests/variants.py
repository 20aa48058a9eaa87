"""Option sets and random problems for the tests of the LSTM family."""

import numpy as np

from lstm_numba.variants import ACTIVATIONS, VARIANTS, VariantOptions, VariantWeights

# The named variants change one part at a time; the others mix.
OPTION_SETS = VARIANTS | {
    "no gates": VariantOptions(input_gate=False, forget_gate=False, output_gate=False),
    "coupled, gates recurrent, peepholes": VariantOptions(coupled=True, gate_recurrence=True, peepholes=True),
    "one gate, recurrent": VariantOptions(
        input_gate=False, output_gate=False, gate_recurrence=True, input_activation=ACTIVATIONS[2]
    ),
    "linear, no output gate": VariantOptions(
        output_gate=False, input_activation="identity", output_activation="identity", peepholes=True
    ),
    "no forget gate, all else": VariantOptions(
        forget_gate=False, peepholes=True, gate_recurrence=True, output_activation=ACTIVATIONS[3]
    ),
}


def random_variant(rng, options, T, B, I, H, dtype="float64", bias=True):
    """Return ``x, h0, c0, weights`` for a variant."""
    G, N = len(options.blocks), len(options.gates)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    weights = VariantWeights(
        W_ih=draw(G * H, I),
        W_hh=draw(G * H, H) / dtype_of(dtype)(np.sqrt(H)),  # keeps states without a forget gate of order one
        b_ih=draw(G * H) if bias else None,
        b_hh=draw(G * H) if bias else None,
        peepholes=draw(N, H) if options.peepholes else None,
        W_gates=draw(N * H, N * H) if options.gate_recurrence else None,
    )
    return draw(T, B, I), draw(B, H), draw(B, H), weights


def dtype_of(name):
    """The scalar type of a dtype's name."""
    return np.dtype(name).type
