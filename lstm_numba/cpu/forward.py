"""The forward pass of one recurrent layer: input product, scan over time, threads. Every cell goes through here.

Two ways of sharing the work between the members of a team (see :mod:`lstm_numba.cpu.teams`):

- by sequences: every member computes some sequences of the batch from the first step to the last, and nobody waits;
- by units: every member computes some hidden units of all sequences, and all meet after every step.

The input's share of the pre-activations is computed for a few steps at a time: few enough to be in the L2 cache
still when the scan needs it. ``z`` is stored block by block, within a block row by row (a row is one sequence at one
step), so that whatever is read or written together lies together.
"""

from typing import NamedTuple

from numba import njit

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.cell_blocks import (
    FOUR,
    THREE,
    gru_block,
    gru_input,
    lstm_block,
    lstm_input,
    one_gate,
    rnn_input,
    rnn_relu_block,
    rnn_tanh_block,
)
from lstm_numba.cpu.denormals import flush_denormals, restore_denormals
from lstm_numba.cpu.launch import Kernel
from lstm_numba.cpu.packing import pack_bias, pack_block
from lstm_numba.cpu.simd import (
    MAX_ROWS,
    VECTORS,
    clear_vector,
    copy_row,
    get,
    lanes_of,
    load_part,
    pointer_at,
    step,
    store_part,
)
from lstm_numba.cpu.teams import SYNC_STRIDE, first_part, next_part

_UNIT = {"error_model": "numpy"}
BUFFER_VECTORS = 6  # vectors per row of the largest buffer that a block uses, forward


@njit(**_UNIT)
def groups_of(rows):
    """How many tiles cover these rows."""
    return (rows + MAX_ROWS - 1) // MAX_ROWS


@njit(**_UNIT)
def first_row(plan, t):
    """Where step t begins in arrays that hold the rows of all steps, one after the other."""
    offsets = get(plan, p.OFFSETS)
    if offsets == 0:
        return t * get(plan, p.B)
    return get(pointer_at(offsets, plan), t)


@njit(**_UNIT)
def active_rows(plan, t):
    """Sequences that have not ended at step t; sequences are sorted, the longest first."""
    if get(plan, p.OFFSETS) == 0:
        return get(plan, p.B)
    return first_row(plan, t + 1) - first_row(plan, t)


@njit(**_UNIT)
def length_of(plan, b):
    """Steps of sequence b."""
    lengths = get(plan, p.LENGTHS)
    if lengths == 0:
        return get(plan, p.T)
    return get(pointer_at(lengths, plan), b)


@njit(**_UNIT)
def h_of(plan, like, d, slot, b):
    """Hidden state of sequence b in a slot: 0 is before the first step, T + 1 behind the last."""
    B, P, D = get(plan, p.B), get(plan, p.P), get(plan, p.D)
    return step(pointer_at(get(plan, p.H_SLOTS), like), (slot * B + b) * D * P + d * P)


@njit(**_UNIT)
def carry_of(plan, like, d, block, slot, b):
    """Cell state of one block of sequence b; slot 0 is before step 0. In inference there is one slot only."""
    B, U = get(plan, p.B), lanes_of(like)
    slots = get(plan, p.T) + 1
    if get(plan, p.TRAINING) == 0:
        slots, slot = 1, 0
    at = ((d * get(plan, p.BLOCKS) + block) * slots + slot) * B + b
    return step(pointer_at(get(plan, p.CARRY), like), at * U)


class Form(NamedTuple):
    """How a cell's gates are laid out; see :mod:`lstm_numba.cpu.packing`."""

    gates: int  # G: the weight matrices have G * H rows
    slots: int  # vectors of z per vector of units
    vectors: int  # vectors of units in a block
    first_ih: int  # slots that the input product fills, and which gate sits in the first of them
    turn_ih: int
    first_hh: int  # the same for the recurrent product
    turn_hh: int
    panel: int  # vectors in a tile of these products


LSTM_FORM = Form(4, 4, 1, 0, 0, 0, 0, 4 // FOUR)
GRU_FORM = Form(3, 4, 1, 0, 2, 1, 0, 3 // THREE)
RNN_FORM = Form(1, 1, VECTORS, 0, 0, 0, 0, VECTORS)


@njit(**_UNIT)
def _begin_states(plan, like, d, first, last, has_carry):
    """Put the initial states of some sequences where their first step looks for them."""
    U = lanes_of(like)
    B, H, P = get(plan, p.B), get(plan, p.H), get(plan, p.P)
    for b in range(first, last):
        slot = length_of(plan, b) + 1 if d else 0
        copy_row(h_of(plan, like, d, slot, b), step(pointer_at(get(plan, p.H0), like), (d * B + b) * P), P)
        if has_carry:
            source = step(pointer_at(get(plan, p.C0), like), (d * B + b) * H)
            slot = length_of(plan, b) if d else 0
            for block in range(get(plan, p.BLOCKS)):
                load_part(carry_of(plan, like, d, block, slot, b), step(source, block * U), H - block * U)


@njit(**_UNIT)
def _end_states(plan, like, d, first, last, has_carry):
    """Collect the states after the last step of some sequences."""
    U = lanes_of(like)
    B, H, P = get(plan, p.B), get(plan, p.H), get(plan, p.P)
    for b in range(first, last):
        slot = 1 if d else length_of(plan, b)
        copy_row(step(pointer_at(get(plan, p.H_N), like), (d * B + b) * P), h_of(plan, like, d, slot, b), P)
        if has_carry:
            target = step(pointer_at(get(plan, p.C_N), like), (d * B + b) * H)
            slot = 0 if d else length_of(plan, b)
            for block in range(get(plan, p.BLOCKS)):
                store_part(step(target, block * U), carry_of(plan, like, d, block, slot, b), H - block * U)


@njit(**_UNIT)
def _pack(plan, like, d, part, form):
    """Pack one member's share of the weights and the bias."""
    U = lanes_of(like)
    I, H, P, blocks, members = get(plan, p.I), get(plan, p.H), get(plan, p.P), get(plan, p.BLOCKS), get(plan, p.MEMBERS)
    width, slots = form.vectors * U, form.slots * form.vectors * U
    packed = form.gates * width
    W_ih, W_hh = pointer_at(get(plan, p.W_IH + d), like), pointer_at(get(plan, p.W_HH + d), like)
    packed_ih = step(pointer_at(get(plan, p.PACKED_IH), like), d * blocks * I * packed)
    packed_hh = step(pointer_at(get(plan, p.PACKED_HH), like), d * blocks * P * packed)
    bias = step(pointer_at(get(plan, p.BIAS), like), d * blocks * slots)
    b_ih, b_hh = pointer_at(get(plan, p.B_IH + d), like), pointer_at(get(plan, p.B_HH + d), like)
    for block in range(part * blocks // members, (part + 1) * blocks // members):
        pack_block(step(packed_ih, block * I * packed), W_ih, I, H, form.gates, form.turn_ih, block, width, form.panel)
        pack_block(step(packed_hh, block * P * packed), W_hh, P, H, form.gates, form.turn_hh, block, width, form.panel)
        pack_bias(step(bias, block * slots), b_ih, b_hh, get(plan, p.B_IH + d) != 0, H, form, block, width)
    if get(plan, p.W_HR + d) != 0 and part == 0:
        W_hr = pointer_at(get(plan, p.W_HR + d), like)
        wide = VECTORS * U
        panels = (P + wide - 1) // wide
        packed_hr = step(pointer_at(get(plan, p.PACKED_HR), like), d * panels * H * wide)
        for panel in range(panels):
            pack_block(step(packed_hr, panel * H * wide), W_hr, H, P, 1, 0, panel, wide, VECTORS)


@njit(**_UNIT)
def _z_row(plan, d, block, row, slots):
    """Offset of a row of z. In inference z holds one chunk of steps, counted from its first row."""
    return ((d * get(plan, p.BLOCKS) + block) * get(plan, p.ROWS) + row) * slots


@njit(**_UNIT)
def _multiply_input(plan, like, d, t0, t1, b0, b1, first_block, last_block, base, form, cell_input):
    """Input's share of z for some steps, sequences and blocks."""
    U = lanes_of(like)
    I, B = get(plan, p.I), get(plan, p.B)
    slots, packed = form.slots * form.vectors * U, form.gates * form.vectors * U
    blocks = get(plan, p.BLOCKS)
    x, z = pointer_at(get(plan, p.X), like), pointer_at(get(plan, p.Z), like)
    for block in range(first_block, last_block):
        W = step(pointer_at(get(plan, p.PACKED_IH), like), (d * blocks + block) * I * packed)
        bias = step(pointer_at(get(plan, p.BIAS), like), (d * blocks + block) * slots)
        if b0 == 0 and b1 == B:  # all rows of all steps follow each other
            row, last = first_row(plan, t0), first_row(plan, t1)
            groups = groups_of(last - row)
            while groups > 0:
                rows = (last - row + groups - 1) // groups
                at = step(z, _z_row(plan, d, block, row - base, slots))
                cell_input(rows, at, slots, bias, step(x, row * I), I, W, I)
                row += rows
                groups -= 1
        elif b1 - b0 >= MAX_ROWS or t1 - t0 < b1 - b0 or get(plan, p.OFFSETS) != 0:  # the rows of one step
            for t in range(t0, t1):
                row = first_row(plan, t)
                last = row + min(b1, active_rows(plan, t))
                row += b0
                groups = groups_of(last - row)
                while groups > 0:
                    rows = (last - row + groups - 1) // groups
                    at = step(z, _z_row(plan, d, block, row - base, slots))
                    cell_input(rows, at, slots, bias, step(x, row * I), I, W, I)
                    row += rows
                    groups -= 1
        else:  # few sequences: the steps of one sequence
            for b in range(b0, b1):
                t = t0
                groups = groups_of(t1 - t0)
                while groups > 0:
                    rows = (t1 - t + groups - 1) // groups
                    row = t * B + b
                    at = step(z, _z_row(plan, d, block, row - base, slots))
                    cell_input(rows, at, B * slots, bias, step(x, row * I), B * I, W, I)
                    t += rows
                    groups -= 1


@njit(**_UNIT)
def _advance(plan, like, d, t, b0, b1, first_block, last_block, base, buffer, form, cell_block):
    """One time step of some sequences and blocks."""
    U = lanes_of(like)
    H, P, D, blocks = get(plan, p.H), get(plan, p.P), get(plan, p.D), get(plan, p.BLOCKS)
    width = form.vectors * U
    slots, packed = form.slots * width, form.gates * width
    b1 = min(b1, active_rows(plan, t))
    row_0 = first_row(plan, t) - base
    keep = get(plan, p.TRAINING)
    before, after = (t + 2, t + 1) if d else (t, t + 1)
    carry_before, carry_after = (t + 1, t) if d else (t, t + 1)
    projected = get(plan, p.W_HR + d) != 0
    out_row = H if projected else D * P
    z = pointer_at(get(plan, p.Z), like)
    W_0 = step(pointer_at(get(plan, p.PACKED_HH), like), d * blocks * P * packed)
    for n in range(first_block, last_block):
        # Every other step in the opposite order: the weights used last are still in the cache.
        block = n if t & 1 == 0 else first_block + last_block - 1 - n
        j0 = block * width
        W = step(W_0, block * P * packed)
        b = b0
        groups = groups_of(b1 - b0)
        while groups > 0:
            rows = (b1 - b + groups - 1) // groups
            h_prev = h_of(plan, like, d, before, b)
            h = m_of(plan, like, d, t, b) if projected else h_of(plan, like, d, after, b)
            cell_block(
                rows,
                W,
                P,
                step(z, _z_row(plan, d, block, row_0 + b, slots)),
                slots,
                h_prev,
                D * P,
                step(h_prev, j0),
                carry_of(plan, like, d, block, carry_before, b),
                carry_of(plan, like, d, block, carry_after, b),
                step(h, j0),
                out_row,
                min(width, H - j0),
                keep,
                buffer,
            )
            b += rows
            groups -= 1
    if projected:
        _project(plan, like, d, t, b0, b1, buffer)


@njit(**_UNIT)
def m_of(plan, like, d, t, b):
    """Output of sequence b before the projection; in inference there is room for one step only."""
    B, H = get(plan, p.B), get(plan, p.H)
    steps = get(plan, p.T)
    if get(plan, p.TRAINING) == 0:
        steps, t = 1, 0
    return step(pointer_at(get(plan, p.M_SLOTS), like), ((d * steps + t) * B + b) * H)


@njit(**_UNIT)
def _project(plan, like, d, t, b0, b1, buffer):
    """Hidden states from the outputs before the projection: ``h = W_hr m``."""
    U = lanes_of(like)
    H, P, D = get(plan, p.H), get(plan, p.P), get(plan, p.D)
    wide = VECTORS * U
    panels = (P + wide - 1) // wide
    packed = step(pointer_at(get(plan, p.PACKED_HR), like), d * panels * H * wide)
    for r in range(0, wide, U):
        clear_vector(step(buffer, MAX_ROWS * wide + r))
    for panel in range(panels):
        b = b0
        groups = groups_of(b1 - b0)
        while groups > 0:
            rows = (b1 - b + groups - 1) // groups
            W = step(packed, panel * H * wide)
            zeros = step(buffer, MAX_ROWS * wide)
            one_gate(rows, buffer, wide, zeros, 0, m_of(plan, like, d, t, b), H, 1, W, H)
            for r in range(rows):
                h = step(h_of(plan, like, d, t + 1, b + r), panel * wide)
                for v in range(0, min(wide, P - panel * wide), U):
                    store_part(step(h, v), step(buffer, r * wide + v), P - panel * wide - v)
            b += rows
            groups -= 1


@njit(**_UNIT)
def _chunk(plan, d, number, chunks):
    """Steps ``t0:t1`` of the chunk that comes as number ``number``; direction 1 starts with the last."""
    chunk = get(plan, p.CHUNK)
    n = chunks - 1 - number if d else number
    return n * chunk, min(get(plan, p.T), (n + 1) * chunk)


@njit(**_UNIT)
def _forward_of_sequences(plan, like, d, b0, b1, buffer, form, cell_input, cell_block, has_carry):
    """All steps of some sequences, without waiting for anybody."""
    blocks, chunk = get(plan, p.BLOCKS), get(plan, p.CHUNK)
    chunks = (get(plan, p.T) + chunk - 1) // chunk
    _begin_states(plan, like, d, b0, b1, has_carry)
    for number in range(chunks):
        t0, t1 = _chunk(plan, d, number, chunks)
        base = 0 if get(plan, p.WHOLE) else first_row(plan, t0)
        _multiply_input(plan, like, d, t0, t1, b0, b1, 0, blocks, base, form, cell_input)
        for n in range(t1 - t0):
            t = t1 - 1 - n if d else t0 + n
            _advance(plan, like, d, t, b0, b1, 0, blocks, base, buffer, form, cell_block)
    _end_states(plan, like, d, b0, b1, has_carry)


@njit(**_UNIT)
def share(total, parts, part):
    """Where the given one of several equal shares begins."""
    return total * part // parts


@njit(**_UNIT)
def _forward(plan, like, member, form, cell_input, cell_block, has_carry):
    before = flush_denormals()
    D, B, blocks = get(plan, p.D), get(plan, p.B), get(plan, p.BLOCKS)
    members, teams = get(plan, p.MEMBERS), get(plan, p.TEAMS)
    me = member % members
    buffer = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    slices = pointer_at(get(plan, p.SLICES), plan)
    by_units = get(plan, p.SPLIT_UNITS) != 0
    for d in range(member // members, D, teams):
        sync = step(pointer_at(get(plan, p.SYNC), plan), d * SYNC_STRIDE * (members + 1))
        phase = 0
        if get(plan, p.REPACK):
            part = first_part(sync, members, phase, me)
            while part >= 0:
                _pack(plan, like, d, part, form)
                part = next_part(sync, members, phase)
            phase += 1
        if not by_units:
            part = first_part(sync, members, phase, me)
            while part >= 0:
                b0, b1 = get(slices, part), get(slices, part + 1)
                _forward_of_sequences(plan, like, d, b0, b1, buffer, form, cell_input, cell_block, has_carry)
                part = next_part(sync, members, phase)
            continue
        part = first_part(sync, members, phase, me)
        while part >= 0:
            _begin_states(plan, like, d, share(B, members, part), share(B, members, part + 1), has_carry)
            part = next_part(sync, members, phase)
        phase += 1
        chunk = get(plan, p.CHUNK)
        chunks = (get(plan, p.T) + chunk - 1) // chunk
        for number in range(chunks):
            t0, t1 = _chunk(plan, d, number, chunks)
            base = 0 if get(plan, p.WHOLE) else first_row(plan, t0)
            part = first_part(sync, members, phase, me)
            while part >= 0:
                u0, u1 = share(blocks, members, part), share(blocks, members, part + 1)
                _multiply_input(plan, like, d, t0, t1, 0, B, u0, u1, base, form, cell_input)
                part = next_part(sync, members, phase)
            phase += 1
            for n in range(t1 - t0):
                t = t1 - 1 - n if d else t0 + n
                part = first_part(sync, members, phase, me)
                while part >= 0:
                    u0, u1 = share(blocks, members, part), share(blocks, members, part + 1)
                    _advance(plan, like, d, t, 0, B, u0, u1, base, buffer, form, cell_block)
                    part = next_part(sync, members, phase)
                phase += 1
        part = first_part(sync, members, phase, me)
        while part >= 0:
            _end_states(plan, like, d, share(B, members, part), share(B, members, part + 1), has_carry)
            part = next_part(sync, members, phase)
    restore_denormals(before)


def _lstm(plan, like, member):
    _forward(plan, like, member, LSTM_FORM, lstm_input, lstm_block, True)


def _gru(plan, like, member):
    _forward(plan, like, member, GRU_FORM, gru_input, gru_block, False)


def _rnn_tanh(plan, like, member):
    _forward(plan, like, member, RNN_FORM, rnn_input, rnn_tanh_block, False)


def _rnn_relu(plan, like, member):
    _forward(plan, like, member, RNN_FORM, rnn_input, rnn_relu_block, False)


FORWARD = {
    "lstm": Kernel(_lstm),
    "gru": Kernel(_gru),
    "rnn_tanh": Kernel(_rnn_tanh),
    "rnn_relu": Kernel(_rnn_relu),
}
FORMS = {"lstm": LSTM_FORM, "gru": GRU_FORM, "rnn_tanh": RNN_FORM, "rnn_relu": RNN_FORM}
