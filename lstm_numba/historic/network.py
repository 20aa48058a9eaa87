"""The network of 1997: memory cell blocks, all gates and cells connected with each other, one output layer."""

from dataclasses import dataclass

import numpy as np

from lstm_numba.historic.lanes import LANES

#: Which units have a bias, in `Architecture.bias`.
NO_BIAS, GATES, HIDDEN, ALL = "none", "gates", "hidden", "all"


def _padded(n: int) -> int:
    return -(-n // LANES) * LANES


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network of 1997.

    Attributes
    ----------
    inputs, outputs : int
        Input and output units.
    blocks : int
        Memory cell blocks, at most 4; each has one input gate and one output gate.
    cells : int
        Memory cells in a block; they share the gates. At most 8 cells in all.
    bias : {"none", "gates", "hidden", "all"}
        Which units have one: none, the gates, gates and cells, or these and the outputs.

    Examples
    --------
    >>> from lstm_numba.historic import Architecture
    >>> Architecture(inputs=8, outputs=4, blocks=2, cells=2, bias="all").weights  # Experiment 6a
    156
    """

    inputs: int
    outputs: int
    blocks: int
    cells: int
    bias: str

    def __post_init__(self) -> None:
        if self.bias not in (NO_BIAS, GATES, HIDDEN, ALL):
            raise ValueError(f"bias: expected 'none', 'gates', 'hidden' or 'all', got {self.bias!r}")
        if not (1 <= self.blocks <= 4 and self.cells >= 1 and self.blocks * self.cells <= LANES):
            raise ValueError(
                f"expected 1 to 4 blocks and 1 to {LANES} cells in all, got {self.blocks} x {self.cells} cells"
            )

    @property
    def hidden(self) -> int:
        """Hidden units: gates and cells. All feed back into all, the gates too."""
        return self.blocks * (2 + self.cells)

    @property
    def weights(self) -> int:
        """Number of adjustable weights, as the paper's Table 10 counts them."""
        C, H = self.blocks * self.cells, self.hidden
        biased = {NO_BIAS: 0, GATES: 2 * self.blocks, HIDDEN: H, ALL: H}[self.bias]
        return H * (self.inputs + H) + biased + self.outputs * (C + (self.bias == ALL))


class Network:
    """Weights of a network of 1997, in the layout of the kernel.

    Hidden units are ordered: input gates of all blocks, output gates of all blocks, cells block by block.

    Parameters
    ----------
    architecture : Architecture
        Sizes.
    rng : Generator
        Source of the initial weights.
    init : float
        Weights are uniform in [-init, init].
    input_gate_bias, output_gate_bias : tuple of float, optional
        One for each block, in place of random ones.

    Attributes
    ----------
    W : ndarray (U, P) of float64
        Weights into the hidden units, one column each; columns beyond ``hidden`` are padding. Rows, the sources:
        hidden units of the step before, bias, inputs. U = hidden + 1 + inputs; the bias row is there even if unused.
    V : ndarray (C + 1, K) of float64
        Weights from cells and bias (the last row) to outputs, padded likewise.
    biased : ndarray (P,) of float64
        1 where a hidden unit has a bias.
    """

    def __init__(
        self,
        architecture: Architecture,
        rng: np.random.Generator,
        init: float,
        input_gate_bias: tuple[float, ...] | None = None,
        output_gate_bias: tuple[float, ...] | None = None,
    ) -> None:
        a = self.architecture = architecture
        H, B, C = a.hidden, a.blocks, a.blocks * a.cells
        self.W = np.zeros((H + 1 + a.inputs, _padded(H)))
        self.W[:, :H] = rng.uniform(-init, init, (len(self.W), H))
        self.V = np.zeros((C + 1, _padded(a.outputs)))
        self.V[:, : a.outputs] = rng.uniform(-init, init, (C + 1, a.outputs))
        self.biased = np.zeros(self.W.shape[1])
        self.biased[: {NO_BIAS: 0, GATES: 2 * B, HIDDEN: H, ALL: H}[a.bias]] = 1
        for first, values in ((0, input_gate_bias), (B, output_gate_bias)):
            if values is not None:
                if len(values) != B or a.bias == NO_BIAS:
                    raise ValueError(f"gate biases: expected {B} for {B} blocks with biased gates, got {values}")
                self.W[H, first : first + B] = values
        self.W[H] *= self.biased
        if a.bias != ALL:
            self.V[C] = 0

    @property
    def sizes(self) -> np.ndarray:
        """What the kernel wants to know: inputs, blocks, cells per block, hidden units, outputs, biased outputs."""
        a = self.architecture
        return np.array([a.inputs, a.blocks, a.cells, a.hidden, a.outputs, a.bias == ALL])
