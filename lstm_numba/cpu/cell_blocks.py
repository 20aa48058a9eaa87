"""What is particular to a cell: one time step of a block of units, forward and backward.

A block is as many hidden units as a vector register has lanes (for the plain RNN: as a tile has columns). Its
numbers lie side by side in *slots*, one slot per gate. Vector by vector they are copied to local memory, pass
through the scalar equations of :mod:`lstm_numba.cells`, and are copied to where they belong. The loop over the lanes
has a fixed length and touches nothing but local memory, so LLVM turns the scalar equations into vector instructions
and the local memory into registers: no copy is left.

=====  ==============================================  ================  ==============
cell   slots of z (input product, recurrent product)   kept for backward  carry
=====  ==============================================  ================  ==============
lstm   i, f, g, o (both)                               i, f, g, o         c
gru    n_x, r, z (input); r, z, n_h (recurrent)        n, r, z, n_h       (dh z) backward
rnn    z (both)                                        nothing but h      none
=====  ==============================================  ================  ==============
"""

from typing import NamedTuple

from numba import njit
from numba.extending import overload

from lstm_numba.cells import (
    gru_step,
    gru_step_grad,
    lstm_output,
    lstm_step,
    lstm_step_grad,
    rnn_relu_step,
    rnn_relu_step_grad,
    rnn_tanh_step,
    rnn_tanh_step_grad,
)
from lstm_numba.cpu import plan as p
from lstm_numba.cpu.simd import (
    MAX_ROWS,
    ONE,
    VECTORS,
    ZERO,
    call_tile,
    copy_vector,
    get,
    lanes_of,
    load_part,
    local_vectors,
    put,
    step,
    store_part,
)
from lstm_numba.inner import INNER

_UNIT = INNER | {"fastmath": {"contract"}}

# Four gates are one tile of four vectors, or two of two; three gates are one of three, or three of one.
FOUR = 4 // min(VECTORS, 4)  # panels for four vectors
THREE = 1 if VECTORS >= 3 else 3
TILE_OF_FOUR = 4 // FOUR
TILE_OF_THREE = 3 // THREE
TILE_OF_ONE = VECTORS

_RNN_GRAD = 3 * MAX_ROWS


@njit(**_UNIT)
def four_gates(plan, rows, C, c_row, S, s_row, A, a_row, a_step, W, K):
    """C = S + A @ W for a block of four slots."""
    width = TILE_OF_FOUR * lanes_of(C)
    tile = get(plan, p.TILES + TILE_OF_FOUR)
    for part in range(FOUR):
        at = part * width
        call_tile(tile, rows, step(C, at), c_row, step(S, at), s_row, A, a_row, a_step, step(W, at * K), K, 1, 0)


@njit(**_UNIT)
def three_gates(plan, rows, C, c_row, S, s_row, A, a_row, a_step, W, K):
    """C = S + A @ W for a block of three slots."""
    width = TILE_OF_THREE * lanes_of(C)
    tile = get(plan, p.TILES + TILE_OF_THREE)
    for part in range(THREE):
        at = part * width
        call_tile(tile, rows, step(C, at), c_row, step(S, at), s_row, A, a_row, a_step, step(W, at * K), K, 1, 0)


@njit(**_UNIT)
def one_gate(plan, rows, C, c_row, S, s_row, A, a_row, a_step, W, K):
    """C = S + A @ W for a block of one wide slot."""
    call_tile(get(plan, p.TILES + TILE_OF_ONE), rows, C, c_row, S, s_row, A, a_row, a_step, W, K, 1, 0)


# -- LSTM --------------------------------------------------------------------------------------------------------


@njit(**_UNIT)
def lstm_input(plan, rows, z, z_row, bias, x, x_row, W, K):
    """Input's share of z for a few rows of a block."""
    four_gates(plan, rows, z, z_row, bias, ZERO, x, x_row, 1, W, K)


@njit(**_UNIT)
def lstm_product(
    plan,
    rows,
    W,  # packed recurrent weights of the block
    K,  # length of h
    z,  # (rows, 4U) input's share
    z_row,
    h_prev,  # (rows, K)
    h_row,
    product,  # (rows, width) out, for the gates
):
    """Pre-activations of a block of LSTM units at one time step for a few sequences."""
    four_gates(plan, rows, product, 4 * lanes_of(z), z, z_row, h_prev, h_row, 1, W, K)


@njit(**_UNIT)
def lstm_gates(
    rows,
    z,  # (rows, 4U) input's share in, gates out if `keep`
    z_row,
    h_own,  # (rows, U) the block's own units in h_prev; not needed here
    h_row,
    carry_in,  # (rows, U) c
    carry_out,
    carry_row,
    h,  # (rows, count) out
    out_row,
    count,  # units in row 0 ...
    fewer,  # ... and by how many fewer in each row than in the one before
    keep,
    product,  # what the product has left
    rest,  # room for 3 * MAX_ROWS vectors
):
    """One time step of LSTM units after the product: a block of a few sequences, or a few blocks of one sequence."""
    U = lanes_of(z)
    own = local_vectors(z, 10)  # z_i z_f z_g z_o c_prev, then i f g o c
    for r in range(rows):  # into rest: o of all rows, then c, then h
        for slot in range(4):
            copy_vector(step(own, slot * U), step(product, (4 * r + slot) * U))
        copy_vector(step(own, 4 * U), step(carry_in, r * carry_row))
        for j in range(U):
            i, f, g, o, c, _ = lstm_step(
                get(own, j), get(own, j + U), get(own, j + 2 * U), get(own, j + 3 * U), get(own, j + 4 * U)
            )
            put(own, j + 5 * U, i)
            put(own, j + 6 * U, f)
            put(own, j + 7 * U, g)
            put(own, j + 8 * U, o)
            put(own, j + 9 * U, c)
        copy_vector(step(rest, r * U), step(own, 8 * U))
        copy_vector(step(rest, (MAX_ROWS + r) * U), step(own, 9 * U))
        copy_vector(step(carry_out, r * carry_row), step(own, 9 * U))
        if keep:
            for slot in range(4):
                copy_vector(step(z, r * z_row + slot * U), step(own, (5 + slot) * U))
    # h waits for c. In a loop of its own, the processor works on several rows while one of them waits.
    for j in range(rows * U):
        put(rest, j + 2 * MAX_ROWS * U, lstm_output(get(rest, j), get(rest, j + MAX_ROWS * U)))
    for r in range(rows):
        store_part(step(h, r * out_row), step(rest, (2 * MAX_ROWS + r) * U), count - r * fewer)


@njit(**_UNIT)
def lstm_block_grad(
    rows,
    z,  # (rows, 4U) gates in, dz out
    z_row,
    dh,  # (rows, U) what reaches h through the next step
    dh_row,
    dy,  # (rows, count)
    dy_row,
    dcarry,  # (rows, U) dc in, dc_prev out
    c_prev,  # (rows, U) carry before the step
    c,  # (rows, U) carry after the step
    h_prev,  # (rows, count) not needed here
    h,  # not needed here
    h_row,
    count,
):
    """One time step back of a block of LSTM units for a few sequences."""
    U = lanes_of(z)
    own = local_vectors(z, 14)  # i f g o c_prev c dh dc dy, then dz_i dz_f dz_g dz_o dc_prev
    for r in range(rows):
        for slot in range(4):
            copy_vector(step(own, slot * U), step(z, r * z_row + slot * U))
        copy_vector(step(own, 4 * U), step(c_prev, r * U))
        copy_vector(step(own, 5 * U), step(c, r * U))
        copy_vector(step(own, 6 * U), step(dh, r * dh_row))
        copy_vector(step(own, 7 * U), step(dcarry, r * U))
        load_part(step(own, 8 * U), step(dy, r * dy_row), count)
        for j in range(U):
            dz_i, dz_f, dz_g, dz_o, dc_prev = lstm_step_grad(
                get(own, j + 6 * U) + get(own, j + 8 * U),
                get(own, j + 7 * U),
                get(own, j),
                get(own, j + U),
                get(own, j + 2 * U),
                get(own, j + 3 * U),
                get(own, j + 4 * U),
                get(own, j + 5 * U),
            )
            put(own, j + 9 * U, dz_i)
            put(own, j + 10 * U, dz_f)
            put(own, j + 11 * U, dz_g)
            put(own, j + 12 * U, dz_o)
            put(own, j + 13 * U, dc_prev)
        for slot in range(4):
            load_part(step(z, r * z_row + slot * U), step(own, (9 + slot) * U), count)
        copy_vector(step(dcarry, r * U), step(own, 13 * U))


# -- GRU ---------------------------------------------------------------------------------------------------------


@njit(**_UNIT)
def gru_input(plan, rows, z, z_row, bias, x, x_row, W, K):
    """Input's share of z for a few rows of a block; the slot of n_h gets its bias."""
    U = lanes_of(z)
    three_gates(plan, rows, z, z_row, bias, ZERO, x, x_row, 1, W, K)
    for r in range(rows):
        copy_vector(step(z, r * z_row + 3 * U), step(bias, 3 * U))


@njit(**_UNIT)
def gru_product(plan, rows, W, K, z, z_row, h_prev, h_row, product):
    """Recurrent share of a block of GRU units; arguments as for :func:`lstm_product`."""
    U = lanes_of(z)
    three_gates(plan, rows, product, 3 * U, step(z, U), z_row, h_prev, h_row, 1, W, K)


@njit(**_UNIT)
def gru_gates(
    rows, z, z_row, h_own, h_row, carry_in, carry_out, carry_row, h, out_row, count, fewer, keep, product, rest
):
    """One time step of a block of GRU units after the product; arguments as for :func:`lstm_gates`."""
    U = lanes_of(z)
    own = local_vectors(z, 9)  # n_x z_r z_z n_h h_prev, then n r z h
    for r in range(rows):
        copy_vector(own, step(z, r * z_row))
        for slot in range(3):
            copy_vector(step(own, (1 + slot) * U), step(product, (3 * r + slot) * U))
        load_part(step(own, 4 * U), step(h_own, r * h_row), count - r * fewer)
        for j in range(U):
            reset, update, n, h_new = gru_step(
                get(own, j + U), get(own, j + 2 * U), get(own, j), get(own, j + 3 * U), get(own, j + 4 * U)
            )
            put(own, j + 5 * U, n)
            put(own, j + 6 * U, reset)
            put(own, j + 7 * U, update)
            put(own, j + 8 * U, h_new)
        if keep:
            for slot in range(3):
                copy_vector(step(z, r * z_row + slot * U), step(own, (5 + slot) * U))
            copy_vector(step(z, r * z_row + 3 * U), step(own, 3 * U))
        store_part(step(h, r * out_row), step(own, 8 * U), count - r * fewer)


@njit(**_UNIT)
def gru_block_grad(rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count):
    """One time step back of a block of GRU units; arguments as for :func:`lstm_block_grad`.

    The carry is the part of dh that goes straight to the step before, through ``z * h_prev``.
    """
    U = lanes_of(z)
    own = local_vectors(z, 13)  # n r z n_h h_prev dh carry dy, then dn_x dz_r dz_z dn_h dh_prev
    for r in range(rows):
        for slot in range(4):
            copy_vector(step(own, slot * U), step(z, r * z_row + slot * U))
        load_part(step(own, 4 * U), step(h_prev, r * h_row), count)
        copy_vector(step(own, 5 * U), step(dh, r * dh_row))
        copy_vector(step(own, 6 * U), step(dcarry, r * U))
        load_part(step(own, 7 * U), step(dy, r * dy_row), count)
        for j in range(U):
            dz_r, dz_z, dn_x, dn_h, dh_prev = gru_step_grad(
                get(own, j + 5 * U) + get(own, j + 6 * U) + get(own, j + 7 * U),
                get(own, j + U),
                get(own, j + 2 * U),
                get(own, j),
                get(own, j + 3 * U),
                get(own, j + 4 * U),
            )
            put(own, j + 8 * U, dn_x)
            put(own, j + 9 * U, dz_r)
            put(own, j + 10 * U, dz_z)
            put(own, j + 11 * U, dn_h)
            put(own, j + 12 * U, dh_prev)
        for slot in range(4):
            load_part(step(z, r * z_row + slot * U), step(own, (8 + slot) * U), count)
        copy_vector(step(dcarry, r * U), step(own, 12 * U))


# -- RNN ---------------------------------------------------------------------------------------------------------


@njit(forceinline=True, **_UNIT)
def _activate_rnn_tanh(buffer, rows):
    U = VECTORS * lanes_of(buffer)
    for r in range(rows):
        for j in range(r * U, r * U + U):
            put(buffer, j, rnn_tanh_step(get(buffer, j)))


@njit(forceinline=True, **_UNIT)
def _activate_rnn_relu(buffer, rows):
    U = VECTORS * lanes_of(buffer)
    for r in range(rows):
        for j in range(r * U, r * U + U):
            put(buffer, j, rnn_relu_step(get(buffer, j)))


@njit(**_UNIT)
def _store_rnn(rows, h, out_row, count, fewer, buffer):
    width = VECTORS * lanes_of(h)
    for r in range(rows):
        here = count - r * fewer
        for v in range(0, min(here, width), lanes_of(h)):
            store_part(step(h, r * out_row + v), step(buffer, r * width + v), here - v)


@njit(**_UNIT)
def rnn_input(plan, rows, z, z_row, bias, x, x_row, W, K):
    """Input's share of z for a few rows of a block."""
    one_gate(plan, rows, z, z_row, bias, ZERO, x, x_row, ONE, W, K)


@njit(**_UNIT)
def rnn_product(plan, rows, W, K, z, z_row, h_prev, h_row, product):
    """Pre-activations of a block; arguments as for :func:`lstm_product`."""
    one_gate(plan, rows, product, VECTORS * lanes_of(z), z, z_row, h_prev, h_row, ONE, W, K)


@njit(**_UNIT)
def rnn_tanh_gates(
    rows, z, z_row, h_own, h_row, carry_in, carry_out, carry_row, h, out_row, count, fewer, keep, product, rest
):
    """One time step of a block of tanh units after the product; arguments as for :func:`lstm_gates`."""
    _activate_rnn_tanh(product, rows)
    _store_rnn(rows, h, out_row, count, fewer, product)


@njit(**_UNIT)
def rnn_relu_gates(
    rows, z, z_row, h_own, h_row, carry_in, carry_out, carry_row, h, out_row, count, fewer, keep, product, rest
):
    """One time step of a block of rectified units after the product; arguments as for :func:`lstm_gates`."""
    _activate_rnn_relu(product, rows)
    _store_rnn(rows, h, out_row, count, fewer, product)


@njit(**_UNIT)
def _load_rnn(rows, dh, dh_row, dy, dy_row, h, h_row, count, buffer):
    U = lanes_of(dh)
    for r in range(rows):
        at = step(buffer, r * 3 * U)
        load_part(at, step(h, r * h_row), count)
        copy_vector(step(at, U), step(dh, r * dh_row))
        load_part(step(at, 2 * U), step(dy, r * dy_row), count)


@njit(forceinline=True, **_UNIT)
def _differentiate_rnn_tanh(buffer, rows):
    """``h dh dy`` becomes ``dz dh dy`` in every row."""
    U = lanes_of(buffer)
    for r in range(rows):
        at = r * 3 * U
        for j in range(at, at + U):
            put(buffer, j, rnn_tanh_step_grad(get(buffer, j + U) + get(buffer, j + 2 * U), get(buffer, j)))


@njit(forceinline=True, **_UNIT)
def _differentiate_rnn_relu(buffer, rows):
    """``h dh dy`` becomes ``dz dh dy`` in every row."""
    U = lanes_of(buffer)
    for r in range(rows):
        at = r * 3 * U
        for j in range(at, at + U):
            put(buffer, j, rnn_relu_step_grad(get(buffer, j + U) + get(buffer, j + 2 * U), get(buffer, j)))


@njit(**_UNIT)
def rnn_tanh_block_grad(rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count):
    """One time step back of tanh units; arguments as for :func:`lstm_block_grad`."""
    buffer = local_vectors(z, _RNN_GRAD)
    _load_rnn(rows, dh, dh_row, dy, dy_row, h, h_row, count, buffer)
    _differentiate_rnn_tanh(buffer, rows)
    for r in range(rows):
        load_part(step(z, r * z_row), step(buffer, r * 3 * lanes_of(z)), count)


@njit(**_UNIT)
def rnn_relu_block_grad(rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count):
    """One time step back of rectified units; arguments as for :func:`lstm_block_grad`."""
    buffer = local_vectors(z, _RNN_GRAD)
    _load_rnn(rows, dh, dh_row, dy, dy_row, h, h_row, count, buffer)
    _differentiate_rnn_relu(buffer, rows)
    for r in range(rows):
        load_part(step(z, r * z_row), step(buffer, r * 3 * lanes_of(z)), count)


# -- which functions belong to a cell ----------------------------------------------------------------------------


class Form(NamedTuple):
    """How a cell's gates are laid out; see :mod:`lstm_numba.cpu.packing`. Its class tells compiled code the cell."""

    gates: int  # G: the weight matrices have G * H rows
    slots: int  # vectors of z per vector of units
    vectors: int  # vectors of units in a block
    first_ih: int  # slots that the input product fills, and which gate sits in the first of them
    turn_ih: int
    first_hh: int  # the same for the recurrent product
    turn_hh: int
    panel: int  # vectors in a tile of these products


class LSTMForm(Form):
    """Slots i, f, g, o."""


class ProjectedLSTMForm(LSTMForm):
    """The same, with kernels of their own: others need not wait until code for the projection is compiled."""


class GRUForm(Form):
    """Slots n_x, r, z, n_h: the input product fills the first three, the recurrent product the last three."""


class RNNTanhForm(Form):
    """One slot."""


class RNNReluForm(Form):
    """One slot."""


LSTM_FORM = LSTMForm(4, 4, 1, 0, 0, 0, 0, 4 // FOUR)
PROJECTED_LSTM_FORM = ProjectedLSTMForm(*LSTM_FORM)
GRU_FORM = GRUForm(3, 4, 1, 0, 2, 1, 0, 3 // THREE)
RNN_TANH_FORM = RNNTanhForm(1, 1, VECTORS, 0, 0, 0, 0, VECTORS)
RNN_RELU_FORM = RNNReluForm(1, 1, VECTORS, 0, 0, 0, 0, VECTORS)
PROJECTION_FORM = Form(1, 1, VECTORS, 0, 0, 0, 0, VECTORS)  # W_hr, packed like the weights of one gate
FORMS = {"lstm": LSTM_FORM, "gru": GRU_FORM, "rnn_tanh": RNN_TANH_FORM, "rnn_relu": RNN_RELU_FORM}


def _of_cell(form, functions):
    """The function for the cell of this form, or for the one it is derived from."""
    return next(functions[kind] for kind in form.instance_class.__mro__ if kind in functions)


def if_projected(form, function, *arguments):
    """Call a function if the cell of this form projects its hidden state; for others it is not even compiled."""
    raise NotImplementedError("if_projected is for compiled code")


@overload(if_projected, jit_options=_UNIT)
def _compiled_if_projected(form, function, *arguments):
    if form.instance_class is ProjectedLSTMForm:
        return lambda form, function, *arguments: function(*arguments)
    return lambda form, function, *arguments: None


def cell_input(form, plan, rows, z, z_row, bias, x, x_row, W, K):
    """Input's share of z, for the cell of this form."""
    raise NotImplementedError("cell_input is for compiled code")


@overload(cell_input, inline="always", jit_options=_UNIT)
def _compiled_cell_input(form, plan, rows, z, z_row, bias, x, x_row, W, K):
    function = _of_cell(form, {LSTMForm: lstm_input, GRUForm: gru_input, Form: rnn_input})
    return lambda form, plan, rows, z, z_row, bias, x, x_row, W, K: function(plan, rows, z, z_row, bias, x, x_row, W, K)


def cell_product(form, plan, rows, W, K, z, z_row, h_prev, h_row, product):
    """Recurrent product of a block at one time step, for the cell of this form."""
    raise NotImplementedError("cell_product is for compiled code")


@overload(cell_product, inline="always", jit_options=_UNIT)
def _compiled_cell_product(form, plan, rows, W, K, z, z_row, h_prev, h_row, product):
    function = _of_cell(form, {LSTMForm: lstm_product, GRUForm: gru_product, Form: rnn_product})

    def multiply(form, plan, rows, W, K, z, z_row, h_prev, h_row, product):
        function(plan, rows, W, K, z, z_row, h_prev, h_row, product)

    return multiply


def cell_gates(
    form, rows, z, z_row, h_own, h_row, carry_in, carry_out, carry_row, h, out_row, count, fewer, keep, product, rest
):
    """The rest of a block's time step, for the cell of this form."""
    raise NotImplementedError("cell_gates is for compiled code")


@overload(cell_gates, inline="always", jit_options=_UNIT)
def _compiled_cell_gates(
    form, rows, z, z_row, h_own, h_row, carry_in, carry_out, carry_row, h, out_row, count, fewer, keep, product, rest
):
    functions = {
        LSTMForm: lstm_gates,
        GRUForm: gru_gates,
        RNNTanhForm: rnn_tanh_gates,
        RNNReluForm: rnn_relu_gates,
    }
    function = _of_cell(form, functions)

    def gates(
        form,
        rows,
        z,
        z_row,
        h_own,
        h_row,
        carry_in,
        carry_out,
        carry_row,
        h,
        out_row,
        count,
        fewer,
        keep,
        product,
        rest,
    ):
        function(
            rows, z, z_row, h_own, h_row, carry_in, carry_out, carry_row, h, out_row, count, fewer, keep, product, rest
        )

    return gates


def cell_block_grad(form, rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count):
    """One time step back of a block, for the cell of this form."""
    raise NotImplementedError("cell_block_grad is for compiled code")


@overload(cell_block_grad, inline="always", jit_options=_UNIT)
def _compiled_cell_block_grad(form, rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count):
    functions = {
        LSTMForm: lstm_block_grad,
        GRUForm: gru_block_grad,
        RNNTanhForm: rnn_tanh_block_grad,
        RNNReluForm: rnn_relu_block_grad,
    }
    function = _of_cell(form, functions)

    def block_grad(form, rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count):
        function(rows, z, z_row, dh, dh_row, dy, dy_row, dcarry, c_prev, c, h_prev, h, h_row, count)

    return block_grad
