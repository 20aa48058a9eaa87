"""Which parts an LSTM cell has: the options of the cell family, and the named variants of the literature.

One cell, taken apart. Every member of the family is a choice of parts; the equations are in
:func:`lstm_numba.cells.lstm_variant_step`, the specification in :mod:`lstm_numba.reference.lstm_variants`. The module
holds names and booleans only, so that both may read it.
"""

from typing import Any, NamedTuple

# The position is the code that compiled functions compare with.
ACTIVATIONS = ("tanh", "identity", "sigmoid", "sigmoid in [-1, 1]", "sigmoid in [-2, 2]")


class VariantOptions(NamedTuple):
    """The parts of one cell. The defaults are the cell of ``torch.nn.LSTM``.

    Parameters
    ----------
    input_gate, forget_gate, output_gate
        A gate that is left out is 1 at every step.
    input_activation, output_activation
        One of :data:`ACTIVATIONS`: what the candidate's pre-activation and the cell state pass through.
    coupled
        The forget gate is ``1 - i`` and has no weights of its own (CIFG).
    peepholes
        Each gate sees its own unit's cell state: the input and forget gates the old one, the output gate the new.
    gate_recurrence
        Each gate sees the values of all gates at the step before (FGR). They start from zero.

    Raises
    ------
    ValueError
        From :func:`checked`: if an activation is unknown, or a part lacks the gate that it acts on.

    Examples
    --------
    >>> VARIANTS["CIFG"].blocks
    ('i', 'g', 'o')
    >>> VARIANTS["NP"] == VariantOptions()
    True
    """

    input_gate: bool = True
    forget_gate: bool = True
    output_gate: bool = True
    input_activation: str = "tanh"
    output_activation: str = "tanh"
    coupled: bool = False
    peepholes: bool = False
    gate_recurrence: bool = False

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates with weights, in PyTorch's order."""
        free = {"i": self.input_gate, "f": self.forget_gate and not self.coupled, "o": self.output_gate}
        return tuple(name for name, present in free.items() if present)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The pre-activations with weights, in the order in which the weights are stacked."""
        return tuple(name for name in "ifgo" if name == "g" or name in self.gates)


_VANILLA = VariantOptions(peepholes=True)

#: Vanilla and the eight variants of Greff et al. (2017), each one change away from it, and the cell of 1997.
VARIANTS: dict[str, VariantOptions] = {
    "V": _VANILLA,  # vanilla: three gates, peepholes, two squashing functions
    "NIG": _VANILLA._replace(input_gate=False),
    "NFG": _VANILLA._replace(forget_gate=False),
    "NOG": _VANILLA._replace(output_gate=False),
    "NIAF": _VANILLA._replace(input_activation="identity"),
    "NOAF": _VANILLA._replace(output_activation="identity"),
    "CIFG": _VANILLA._replace(coupled=True),
    "NP": _VANILLA._replace(peepholes=False),  # torch.nn.LSTM
    "FGR": _VANILLA._replace(gate_recurrence=True),
    "HS97": VariantOptions(  # Hochreiter & Schmidhuber 1997: the cell; their wiring between the units differs
        forget_gate=False, input_activation="sigmoid in [-2, 2]", output_activation="sigmoid in [-1, 1]"
    ),
}


def checked(options: VariantOptions) -> VariantOptions:
    """Return ``options`` if they describe a cell, else raise ``ValueError``."""
    for name in ("input_activation", "output_activation"):
        if getattr(options, name) not in ACTIVATIONS:
            names = ", ".join(map(repr, ACTIVATIONS))
            raise ValueError(f"variant.{name}: expected one of {names}, got {getattr(options, name)!r}")
    if options.coupled and not (options.input_gate and options.forget_gate):
        raise ValueError("variant.coupled: expected an input gate and a forget gate to couple, got options without one")
    if (options.peepholes or options.gate_recurrence) and not options.gates:
        raise ValueError("variant: expected a gate for the peepholes or the gate recurrence to act on, got none")
    return options


class VariantWeights(NamedTuple):
    """The weights of one layer of a variant, or their gradients; G blocks and N gates have weights."""

    W_ih: Any  # (G*H, I) blocks in the order of VariantOptions.blocks
    W_hh: Any  # (G*H, H)
    b_ih: Any  # (G*H,) or None
    b_hh: Any  # (G*H,) or None
    peepholes: Any  # (N, H), in the order of VariantOptions.gates, or None
    W_gates: Any  # (N*H, N*H) from the gates one step before to the gates, or None
