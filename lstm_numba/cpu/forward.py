"""The forward pass of one recurrent layer: input product, scan over time, threads. Every cell goes through here.

Two ways of sharing the work between the members of a team (see :mod:`lstm_numba.cpu.teams`):

- by sequences: every member computes some sequences of the batch from the first step to the last, and nobody waits;
- by units: every member computes some hidden units of all sequences, and all meet after every step.

The input's share of the pre-activations is computed for a few steps at a time: few enough to be in the L2 cache
still when the scan needs it. ``z`` is stored block by block, within a block row by row (a row is one sequence at one
step), so that whatever is read or written together lies together.
"""

from numba import njit

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.cell_blocks import (
    GRU_FORM,
    LSTM_FORM,
    PROJECTED_LSTM_FORM,
    PROJECTION_FORM,
    RNN_RELU_FORM,
    RNN_TANH_FORM,
    TILE_OF_FOUR,
    TILE_OF_ONE,
    TILE_OF_THREE,
    cell_gates,
    cell_input,
    cell_product,
    if_projected,
    one_gate,
)
from lstm_numba.cpu.launch import Kernel
from lstm_numba.cpu.packing import pack_bias, pack_block
from lstm_numba.cpu.simd import (
    MAX_ROWS,
    ONE,
    VECTORS,
    ZERO,
    clear_vector,
    copy_row,
    get,
    lanes_of,
    load_part,
    pointer_at,
    step,
    store_part,
)
from lstm_numba.inner import INNER

_UNIT = INNER
BUFFER_VECTORS = 7  # vectors per row of the largest buffer that a block or a projection uses, forward


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
def band_of(plan, b):
    """Band of sequence b: its first sequence, and their number.

    In training, every member may keep what it computes in memory of its own, a band: z, hidden and cell states of its
    sequences, step after step. Where two members write into neighbouring lines of memory, their processors fetch
    ahead into each other's, and take them from each other at every step.
    """
    bands = get(plan, p.BANDS)
    if bands == 0:
        return 0, get(plan, p.B)
    at = step(pointer_at(bands, plan), 2 * b)
    return get(at, 0), get(at, 1)


@njit(**_UNIT)
def banded_row(plan, slots, slot, b):
    """Row of sequence b in a slot of an array with that many slots: band by band, slot by slot."""
    first, rows = band_of(plan, b)
    return slots * first + slot * rows + b - first


@njit(**_UNIT)
def h_of(plan, like, d, slot, b):
    """Hidden state of sequence b in a slot: 0 is before the first step, T + 1 behind the last."""
    P, D = get(plan, p.P), get(plan, p.D)
    row = banded_row(plan, get(plan, p.T) + 2, slot, b)
    return step(pointer_at(get(plan, p.H_SLOTS), like), row * D * P + d * P)


@njit(**_UNIT)
def carry_of(plan, like, d, block, slot, b):
    """Cell state of one block of sequence b; slot 0 is before step 0. In inference there is one slot only."""
    B, U = get(plan, p.B), lanes_of(like)
    slots = get(plan, p.T) + 1
    if get(plan, p.TRAINING) == 0:
        slots, slot = 1, 0
    at = (d * get(plan, p.BLOCKS) + block) * slots * B + banded_row(plan, slots, slot, b)
    return step(pointer_at(get(plan, p.CARRY), like), at * U)


@njit(**_UNIT)
def carry_block(plan, like):
    """Numbers from the cell state of one block to that of the next."""
    slots = get(plan, p.T) + 1 if get(plan, p.TRAINING) else 1
    return slots * get(plan, p.B) * lanes_of(like)


@njit(**_UNIT)
def _begin_states(plan, like, d, first, last):
    """Put the initial states of some sequences where their first step looks for them."""
    U = lanes_of(like)
    B, H, P = get(plan, p.B), get(plan, p.H), get(plan, p.P)
    for b in range(first, last):
        slot = length_of(plan, b) + 1 if d else 0
        copy_row(h_of(plan, like, d, slot, b), step(pointer_at(get(plan, p.H0), like), (d * B + b) * P), P)
        if get(plan, p.HAS_CARRY):
            source = step(pointer_at(get(plan, p.C0), like), (d * B + b) * H)
            slot = length_of(plan, b) if d else 0
            for block in range(get(plan, p.BLOCKS)):
                load_part(carry_of(plan, like, d, block, slot, b), step(source, block * U), H - block * U)


@njit(**_UNIT)
def _end_states(plan, like, d, first, last):
    """Collect the states after the last step of some sequences."""
    U = lanes_of(like)
    B, H, P = get(plan, p.B), get(plan, p.H), get(plan, p.P)
    for b in range(first, last):
        slot = 1 if d else length_of(plan, b)
        copy_row(step(pointer_at(get(plan, p.H_N), like), (d * B + b) * P), h_of(plan, like, d, slot, b), P)
        if get(plan, p.HAS_CARRY):
            target = step(pointer_at(get(plan, p.C_N), like), (d * B + b) * H)
            slot = 0 if d else length_of(plan, b)
            for block in range(get(plan, p.BLOCKS)):
                store_part(step(target, block * U), carry_of(plan, like, d, block, slot, b), H - block * U)


@njit(**_UNIT)
def _copy_input(plan, like, t0, t1, b0, b1):
    """Copy some sequences of x for the backward pass, before which the caller may change them."""
    if get(plan, p.X_KEPT) == get(plan, p.X) or b0 == b1:
        return
    B, I = get(plan, p.B), get(plan, p.I)
    x, kept = pointer_at(get(plan, p.X), like), pointer_at(get(plan, p.X_KEPT), like)
    if b1 - b0 == B:  # all of it lies side by side
        copy_row(step(kept, t0 * B * I), step(x, t0 * B * I), (t1 - t0) * B * I)
        return
    for t in range(t0, t1):
        at = (t * B + b0) * I
        copy_row(step(kept, at), step(x, at), (b1 - b0) * I)


@njit(**_UNIT)
def _copy_output(plan, like, d, t0, t1, b0, b1):
    """Copy hidden states of some sequences for the caller, who may change them before the backward pass."""
    B, P, D = get(plan, p.B), get(plan, p.P), get(plan, p.D)
    if D == 1 and b1 - b0 == B:  # all of it lies side by side
        y = step(pointer_at(get(plan, p.Y), like), t0 * B * P)
        copy_row(y, h_of(plan, like, d, t0 + 1, b0), (t1 - t0) * B * P)
        return
    together = max(1, b1 - b0) if D == 1 else 1  # sequences that lie side by side
    for t in range(t0, t1):
        for b in range(b0, b1, together):
            y = step(pointer_at(get(plan, p.Y), like), ((t * B + b) * D + d) * P)
            copy_row(y, h_of(plan, like, d, t + 1, b), together * P)


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
    if part == 0:
        if_projected(form, _pack_projection, plan, like, d)


@njit(**_UNIT)
def _pack_projection(plan, like, d):
    H, P = get(plan, p.H), get(plan, p.P)
    form = PROJECTION_FORM
    W_hr, wide = pointer_at(get(plan, p.W_HR + d), like), form.vectors * lanes_of(like)
    panels = (P + wide - 1) // wide
    packed_hr = step(pointer_at(get(plan, p.PACKED_HR), like), d * panels * H * wide)
    for n in range(panels):
        target = step(packed_hr, n * H * wide)
        pack_block(target, W_hr, H, P, form.gates, form.turn_hh, n, wide, form.panel)


@njit(**_UNIT)
def _z_row(plan, d, block, row, slots):
    """Offset of a row of z."""
    return ((d * get(plan, p.BLOCKS) + block) * get(plan, p.ROWS) + row) * slots


@njit(**_UNIT)
def z_row(plan, t, b):
    """Row of z of sequence b at step t, where z holds all steps."""
    if get(plan, p.OFFSETS):
        return first_row(plan, t) + b
    return banded_row(plan, get(plan, p.T), t, b)


@njit(**_UNIT)
def _first_z_row(plan, t, t0, b0, b1):
    """Row of z of sequence b0 at step t, for a member with the sequences ``b0:b1`` in a chunk that begins at t0.

    In inference z holds one chunk, and in it member after member.
    """
    if get(plan, p.WHOLE):
        return z_row(plan, t, b0)
    return get(plan, p.CHUNK) * b0 + (t - t0) * (b1 - b0)


@njit(**_UNIT)
def _multiply_input(plan, like, d, t0, t1, b0, b1, first_block, last_block, form):
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
            z_row = _first_z_row(plan, t0, t0, b0, b1)
            groups = groups_of(last - row)
            while groups > 0:
                rows = (last - row + groups - 1) // groups
                at = step(z, _z_row(plan, d, block, z_row, slots))
                cell_input(form, plan, rows, at, slots, bias, step(x, row * I), I, W, I)
                row += rows
                z_row += rows
                groups -= 1
        elif b1 - b0 >= MAX_ROWS or t1 - t0 < b1 - b0 or get(plan, p.OFFSETS) != 0:  # the rows of one step
            for t in range(t0, t1):
                row = first_row(plan, t)
                last = row + min(b1, active_rows(plan, t))
                row += b0
                z_row = _first_z_row(plan, t, t0, b0, b1)
                groups = groups_of(last - row)
                while groups > 0:
                    rows = (last - row + groups - 1) // groups
                    at = step(z, _z_row(plan, d, block, z_row, slots))
                    cell_input(form, plan, rows, at, slots, bias, step(x, row * I), I, W, I)
                    row += rows
                    z_row += rows
                    groups -= 1
        else:  # few sequences: the steps of one sequence
            far = (band_of(plan, b0)[1] if get(plan, p.WHOLE) else b1 - b0) * slots
            for b in range(b0, b1):
                t = t0
                groups = groups_of(t1 - t0)
                while groups > 0:
                    rows = (t1 - t + groups - 1) // groups
                    at = step(z, _z_row(plan, d, block, _first_z_row(plan, t, t0, b0, b1) + b - b0, slots))
                    cell_input(form, plan, rows, at, far, bias, step(x, (t * B + b) * I), B * I, W, I)
                    t += rows
                    groups -= 1


@njit(**_UNIT)
def _advance(plan, like, d, t0, t1, first, last, b0, b1, first_block, last_block, buffer, form):
    """Steps number ``first`` to ``last - 1`` of the chunk ``t0:t1`` for some sequences and blocks."""
    U = lanes_of(like)
    H, P, D, blocks = get(plan, p.H), get(plan, p.P), get(plan, p.D), get(plan, p.BLOCKS)
    width = form.vectors * U
    slots, packed = form.slots * width, form.gates * width
    keep, varying = get(plan, p.TRAINING), get(plan, p.OFFSETS) != 0
    projected = get(plan, p.W_HR + d) != 0
    # Where everything of the first sequence lies in the first block at step 0, and how far it is to the next of them.
    # A step of a small layer takes as long as working this out.
    in_band = band_of(plan, b0)[1]
    h_0, h_row, h_step = h_of(plan, like, d, ZERO, b0), D * P, in_band * D * P
    carry_0, to_next_carry = carry_of(plan, like, d, ZERO, ZERO, b0), carry_block(plan, like)
    carry_step = in_band * U if keep else 0
    z_0, z_block = (
        step(pointer_at(get(plan, p.Z), like), _z_row(plan, d, ZERO, ZERO, slots)),
        _z_row(plan, ZERO, ONE, ZERO, slots),
    )
    z_first = _first_z_row(plan, t0, t0, b0, b1)
    z_step = in_band if get(plan, p.WHOLE) else b1 - b0
    W_0 = step(pointer_at(get(plan, p.PACKED_HH), like), d * blocks * P * packed)
    # The gates of few sequences are a short chain of operations that wait for each other. So several blocks are
    # multiplied first, and the processor works on the gates of one while those of another wait.
    together = max(1, MAX_ROWS // max(1, b1 - b0))
    rest = step(buffer, 4 * MAX_ROWS * U)
    for number in range(first, last):
        t = t1 - 1 - number if d else t0 + number
        here, z_row_here = b1 - b0, z_first + (t - t0) * z_step
        if varying:
            here, z_row_here = min(b1, active_rows(plan, t)) - b0, first_row(plan, t) + b0
        # Every other step takes the blocks in the opposite order: the weights used last are still in the cache.
        turn = 1 if t & 1 == 0 else -1
        for n in range(first_block, last_block, together):
            some = min(together, last_block - n)
            block_0 = n if turn == 1 else first_block + last_block - 1 - n
            b = 0
            groups = groups_of(here)
            while groups > 0:
                rows = here - b if groups == 1 else (here - b + groups - 1) // groups
                h_prev = step(h_0, (t + 2 if d else t) * h_step + b * h_row)
                h, out_row = step(h_0, (t + 1) * h_step + b * h_row), h_row
                if projected:
                    h, out_row = m_of(plan, like, d, t, b0 + b), H
                z = step(z_0, (z_row_here + b) * slots)
                for q in range(some):
                    block = block_0 + turn * q
                    W = step(W_0, block * P * packed)
                    product = step(buffer, q * rows * packed)
                    cell_product(form, plan, rows, W, P, step(z, block * z_block), slots, h_prev, h_row, product)
                if rows == 1:  # the blocks take the place of the sequences: their gates are one loop
                    count, of_each = 1, some
                    z_far, carry_far, h_far = turn * z_block, turn * to_next_carry, turn * width
                    out_far = fewer = h_far
                else:
                    count, of_each = some, rows
                    z_far, carry_far, h_far, out_far, fewer = slots, U, h_row, out_row, 0
                carry = step(carry_0, b * U)
                for q in range(count):
                    block = block_0 + turn * q
                    own_carry = step(carry, block * to_next_carry)
                    cell_gates(
                        form,
                        of_each,
                        step(z, block * z_block),
                        z_far,
                        step(h_prev, block * width),
                        h_far,
                        step(own_carry, (t + 1 if d else t) * carry_step),
                        step(own_carry, (t if d else t + 1) * carry_step),
                        carry_far,
                        step(h, block * width),
                        out_far,
                        H - block * width,
                        fewer,
                        keep,
                        step(buffer, q * rows * packed),
                        rest,
                    )
                b += rows
                groups -= 1
        if projected:
            if_projected(form, _project, plan, like, d, t, b0, b0 + here, buffer)


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
    H, P = get(plan, p.H), get(plan, p.P)
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
            one_gate(plan, rows, buffer, wide, zeros, ZERO, m_of(plan, like, d, t, b), H, ONE, W, H)
            for r in range(rows):
                h = step(h_of(plan, like, d, t + 1, b + r), panel * wide)
                for v in range(0, min(wide, P - panel * wide), U):
                    store_part(step(h, v), step(buffer, r * wide + v), P - panel * wide - v)
            b += rows
            groups -= 1


@njit(**_UNIT)
def share(total, parts, part):
    """Where the given one of several equal shares begins."""
    return total * part // parts


@njit(**_UNIT)
def _chunk(plan, d, number):
    """Steps ``t0:t1`` of the chunk that comes as number ``number``; direction 1 starts with the last step."""
    T, chunk = get(plan, p.T), get(plan, p.CHUNK)
    first, last = number * chunk, min(T, (number + 1) * chunk)
    return (T - last, T - first) if d else (first, last)


@njit(inline="always", **_UNIT)  # by Numba: not compiled once for itself and once more in its only caller
def _run_chunk(plan, like, d, number, kind, b0, b1, u0, u1, buffer, form):
    """Work on one chunk: its input product (kind 0), its step number ``kind - 1``, or all of it (kind -1)."""
    t0, t1 = _chunk(plan, d, number)
    if kind <= 0:
        _multiply_input(plan, like, d, t0, t1, b0, b1, u0, u1, form)
    first, last = (0, t1 - t0) if kind < 0 else (max(0, kind - 1), kind)
    if first < last:
        _advance(plan, like, d, t0, t1, first, last, b0, b1, u0, u1, buffer, form)


@njit(inline="always", **_UNIT)  # by Numba: not compiled once for itself and once more in its only caller
def _run_phase(plan, like, d, phase, part, member, form):
    """One member's part of a phase. The phases: packing if needed, then

    by sequences: everything else at once;
    by units: initial states; for every chunk its input product and its steps; final states.
    """
    members, B = get(plan, p.MEMBERS), get(plan, p.B)
    buffer = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    chunks = (get(plan, p.T) + get(plan, p.CHUNK) - 1) // get(plan, p.CHUNK)
    if get(plan, p.REPACK):
        if phase == 0:
            _pack(plan, like, d, part, form)
        phase -= 1
    if phase < 0:
        return
    blocks = get(plan, p.BLOCKS)
    if get(plan, p.SPLIT_UNITS):
        begins, ends = phase == 0, phase == 1 + chunks + get(plan, p.T)
        n = phase - 1
        first = n // (get(plan, p.CHUNK) + 1)
        last = first if begins or ends else first + 1
        kind = n % (get(plan, p.CHUNK) + 1)
        first_slice, last_slice = 0, 1
        u0, u1 = share(blocks, members, part), share(blocks, members, part + 1)
    else:
        begins = ends = True
        first, last, kind = 0, chunks, -1
        slices = get(plan, p.SLICES)
        first_slice, last_slice = share(slices, members, part), share(slices, members, part + 1)
        u0, u1 = 0, blocks
    b0, b1 = 0, B
    if get(plan, p.SPLIT_UNITS) == 0:
        edges = pointer_at(get(plan, p.EDGES), plan)
        b0, b1 = get(edges, first_slice), get(edges, last_slice)
    elif begins or ends:
        b0, b1 = share(B, members, part), share(B, members, part + 1)
    if begins:
        _begin_states(plan, like, d, b0, b1)
    by_units = kind >= 0
    copies = get(plan, p.TRAINING) != 0 and get(plan, p.OFFSETS) == 0
    for number in range(first, last + 1 if by_units and ends else last):
        t0, t1 = 0, get(plan, p.T)
        if number < last:
            t0, t1 = _chunk(plan, d, number)
        copies_now = copies and (ends or not by_units)  # while they are in the cache, if nobody else has a part of them
        if copies_now and d == 0:
            _copy_input(plan, like, t0, t1, b0, b1)
        if number < last:
            _run_chunk(plan, like, d, number, kind, b0, b1, u0, u1, buffer, form)
        if copies_now:
            _copy_output(plan, like, d, t0, t1, b0, b1)
    if ends:
        _end_states(plan, like, d, b0, b1)


def _lstm(plan, like, d, phase, part, member):
    _run_phase(plan, like, d, phase, part, member, LSTM_FORM)


def _projected_lstm(plan, like, d, phase, part, member):
    _run_phase(plan, like, d, phase, part, member, PROJECTED_LSTM_FORM)


def _gru(plan, like, d, phase, part, member):
    _run_phase(plan, like, d, phase, part, member, GRU_FORM)


def _rnn_tanh(plan, like, d, phase, part, member):
    _run_phase(plan, like, d, phase, part, member, RNN_TANH_FORM)


def _rnn_relu(plan, like, d, phase, part, member):
    _run_phase(plan, like, d, phase, part, member, RNN_RELU_FORM)


FORWARD = {
    "lstm": Kernel(_lstm, {TILE_OF_FOUR}),
    "lstm, projected": Kernel(_projected_lstm, {TILE_OF_FOUR, TILE_OF_ONE}),
    "gru": Kernel(_gru, {TILE_OF_THREE}),
    "rnn_tanh": Kernel(_rnn_tanh, {TILE_OF_ONE}),
    "rnn_relu": Kernel(_rnn_relu, {TILE_OF_ONE}),
}


def count_phases(T: int, chunk: int, by_units: bool, repack: bool) -> int:
    """Number of phases of a forward pass."""
    return (2 + T + -(-T // chunk) if by_units else 1) + repack
