"""The backward pass of one recurrent layer. Every cell goes through here.

Time runs backwards in chunks. Within a chunk the scan computes ``dz``, the gradients of the pre-activations, step by
step, writing them over the gates that the forward pass has kept. Then, while they are still in the cache, matrix
products turn them into gradients of the weights and of the input. A chunk's steps depend on the shape only, and
every sum runs over the rows of a chunk in order, so a result does not depend on the number of threads.

The members of a team share a scan by sequences or by units, as in :mod:`lstm_numba.cpu.forward`; they share the
products by units (weights) and by rows (input). By sequences, the batch is cut into slices, as many as the shape
says, and every sum runs through one slice after the other. A member scans all its slices together, as one band of
rows in memory of its own: only the sums know where one slice ends and the next begins. If the weights are few, it is
faster to give every slice sums of its own, which are added up at the end, than to let a core read what others have
just written.
"""

from numba import njit

from lstm_numba.cpu import plan as p
from lstm_numba.cpu.cell_blocks import (
    GRU_FORM,
    LSTM_FORM,
    PROJECTED_LSTM_FORM,
    RNN_RELU_FORM,
    RNN_TANH_FORM,
    Form,
    cell_block_grad,
    if_projected,
    one_gate,
)
from lstm_numba.cpu.forward import (
    active_rows,
    band_of,
    carry_block,
    carry_of,
    first_row,
    groups_of,
    h_of,
    m_of,
    share,
    z_row,
)
from lstm_numba.cpu.launch import Kernel
from lstm_numba.cpu.packing import pack_panels, panel_count, panel_start, panel_vectors
from lstm_numba.cpu.simd import (
    MAX_ROWS,
    ONE,
    VECTORS,
    ZERO,
    add_vector,
    call_tile,
    clear_vector,
    copy_row,
    get,
    lanes_of,
    load_part,
    pointer_at,
    put,
    step,
    store_part,
)
from lstm_numba.inner import INNER

_UNIT = INNER

# A member's scratch, in vectors per row of the tile: sums over rows, dh, edge of a result; then zeros, ones, and the
# panel of x or h that a weight gradient is computed from.
_SUMS, _DH, _EDGE = 1, 4, 4
_FIXED = MAX_ROWS * (_SUMS + _DH + _EDGE) + 4 + 1


def scratch_vectors(chunk_rows: int) -> int:
    """Vectors of scratch that a member needs."""
    return _FIXED + 4 * chunk_rows


def tile_widths(form: Form, lanes: int, *columns: int) -> set[int]:
    """Widths of the tiles that matrices with these numbers of columns need, and the sums over rows."""
    widths = {4 if form.slots == 4 else VECTORS}
    for n in columns:
        vectors = -(-n // lanes)
        if VECTORS >= 4:
            widths |= {4} if vectors >= 4 else set()
            vectors %= 4
        widths |= ({2} if vectors >= 2 else set()) | ({1} if vectors % 2 else set())
    return widths


@njit(inline="always", **_UNIT)
def _product(plan, vectors, rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, segment_step):
    """C = S + A @ B with the tile of the given width."""
    tile = get(plan, p.TILES + vectors)
    call_tile(tile, rows, C, c_row, S, s_row, A, a_row, a_step, B, K, segments, segment_step)


@njit(**_UNIT)
def _z(plan, like, d, block, row, slots):
    at = ((d * get(plan, p.BLOCKS) + block) * get(plan, p.ROWS) + row) * slots
    return step(pointer_at(get(plan, p.Z), like), at)


@njit(**_UNIT)
def _dcarry_of(plan, like, d, block, b):
    at = (d * get(plan, p.BLOCKS) + block) * get(plan, p.B) + b
    return step(pointer_at(get(plan, p.DCARRY), like), at * lanes_of(like))


@njit(**_UNIT)
def _padded(plan, like):
    """Width of a row of dh in whole vectors."""
    U = lanes_of(like)
    return (get(plan, p.P) + U - 1) // U * U


@njit(**_UNIT)
def _begin(plan, like, d, part, form):
    """A member's share of the packing, and of the gradients that arrive at the final state."""
    U = lanes_of(like)
    I, H, P, B, blocks = get(plan, p.I), get(plan, p.H), get(plan, p.P), get(plan, p.B), get(plan, p.BLOCKS)
    members = get(plan, p.MEMBERS)
    width = form.vectors * U
    K = blocks * form.gates * width
    u0, u1 = share(blocks, members, part), share(blocks, members, part + 1)
    packed_hh = step(pointer_at(get(plan, p.PACKED_HH), like), d * K * _padded(plan, like))
    packed_ih = step(pointer_at(get(plan, p.PACKED_IH), like), d * K * ((I + U - 1) // U * U))
    W_hh, W_ih = pointer_at(get(plan, p.W_HH + d), like), pointer_at(get(plan, p.W_IH + d), like)
    pack_panels(packed_hh, W_hh, P, H, form.gates, form.turn_hh, u0, u1, blocks, width)
    pack_panels(packed_ih, W_ih, I, H, form.gates, form.turn_ih, u0, u1, blocks, width)
    if part == 0:
        if_projected(form, _pack_projection, plan, like, d)
    for b in range(share(B, members, part), share(B, members, part + 1)):
        target = step(pointer_at(get(plan, p.DH_START), like), (d * B + b) * _padded(plan, like))
        source = step(pointer_at(get(plan, p.DH_N), like), (d * B + b) * P)
        for j in range(0, P, U):
            load_part(step(target, j), step(source, j), P - j)
        if form.slots == 1:
            continue
        has_carry = get(plan, p.HAS_CARRY) != 0
        source = step(pointer_at(get(plan, p.DC_N), like), (d * B + b) * H)
        for block in range((H + U - 1) // U):
            if has_carry:
                load_part(_dcarry_of(plan, like, d, block, b), step(source, block * U), H - block * U)
            else:
                clear_vector(_dcarry_of(plan, like, d, block, b))


@njit(**_UNIT)
def _pack_projection(plan, like, d):
    U, H, P, padded = lanes_of(like), get(plan, p.H), get(plan, p.P), _padded(plan, like)
    packed_hr = step(pointer_at(get(plan, p.PACKED_HR), like), d * padded * ((H + U - 1) // U * U))
    W_hr, panels = pointer_at(get(plan, p.W_HR + d), like), padded // U
    pack_panels(packed_hr, W_hr, H, P, ONE, ZERO, ZERO, panels, panels, padded // panels)


@njit(**_UNIT)
def _dz_times_weights(plan, like, d, row, rows, n0, vectors, K, segments, start, start_row, target, slots, form):
    """``target = start + dz[rows] @ W_hh[:, panel]``"""
    width = form.vectors * lanes_of(like)
    depth = get(plan, p.BLOCKS) * form.gates * width
    W = step(pointer_at(get(plan, p.PACKED_HH), like), d * depth * _padded(plan, like) + n0 * depth)
    dz = step(_z(plan, like, d, ZERO, row, slots), form.first_hh * width)
    step_of_block = get(plan, p.ROWS) * slots
    columns = vectors * lanes_of(like)
    tile = get(plan, p.SPLIT_TILES + vectors)
    call_tile(tile, rows, target, columns, start, start_row, dz, slots, 1, W, K, segments, step_of_block)


@njit(**_UNIT)
def _start_dh(plan, like, d, t_next, continues, b, rows, n0, vectors, dh, zeros, slots, form):
    """dh of a few sequences before dy is added: from the next step, or from the final state."""
    if continues:
        K, segments = form.gates * form.vectors * lanes_of(like), get(plan, p.BLOCKS)
        row, start, start_row = z_row(plan, t_next, b), zeros, 0
    else:
        padded = _padded(plan, like)
        K = segments = row = 0
        start = step(pointer_at(get(plan, p.DH_START), like), (d * get(plan, p.B) + b) * padded + n0)
        start_row = padded
    _dz_times_weights(plan, like, d, row, rows, n0, vectors, K, segments, start, start_row, dh, slots, form)


@njit(**_UNIT)
def _retreat(plan, like, d, first, last, b0, b1, first_panel, last_panel, scratch, form):
    """Steps back number ``first`` to ``last - 1``, in the order of computation, for some sequences and panels."""
    U = lanes_of(like)
    T, B, H, P, D = get(plan, p.T), get(plan, p.B), get(plan, p.H), get(plan, p.P), get(plan, p.D)
    blocks = get(plan, p.BLOCKS)
    width = form.vectors * U
    slots, K = form.slots * width, form.gates * width
    depth, padded = blocks * K, _padded(plan, like)
    varying, projected = get(plan, p.OFFSETS) != 0, get(plan, p.W_HR + d) != 0
    dh = step(scratch, MAX_ROWS * _SUMS * U)
    zeros = step(scratch, MAX_ROWS * (_SUMS + _DH + _EDGE) * U)
    columns, first_here, last_here = P, first_panel, last_panel
    if projected:  # the units before the projection, of which nobody else has a share
        columns, first_here, last_here = H, 0, panel_count(H, U)
    # Where everything of the first sequence lies at step 0, and how far it is to the next step, block, or vector of
    # units. A step of a small layer takes as long as working this out.
    in_band = band_of(plan, b0)[1]
    z_0, z_block, first_z = _z(plan, like, d, ZERO, ZERO, slots), get(plan, p.ROWS) * slots, z_row(plan, ZERO, b0)
    h_0, h_row, h_step = h_of(plan, like, d, ZERO, b0), D * P, in_band * D * P
    carry_0, carry_unit, carry_step = carry_of(plan, like, d, ZERO, ZERO, b0), carry_block(plan, like), in_band * U
    dcarry_0, dcarry_unit = _dcarry_of(plan, like, d, ZERO, b0), B * U
    dy_0 = step(pointer_at(get(plan, p.DY), like), d * P)
    start_0 = step(pointer_at(get(plan, p.DH_START), like), (d * B + b0) * padded)
    W_0 = step(pointer_at(get(plan, p.PACKED_HH), like), d * depth * padded)
    for number in range(first, last):
        t = number if d else T - 1 - number
        t_next = t - 1 if d else t + 1
        now, past = B, B if number else 0  # sequences that have this step, and the next
        row, z, z_next = t * B + b0, first_z + t * in_band, first_z + t_next * in_band
        if varying:
            now, past = active_rows(plan, t), active_rows(plan, t_next) if number else 0
            row = z = first_row(plan, t) + b0
            z_next = first_row(plan, t_next) + b0 if number else 0
        if past > now:
            _finish(plan, like, d, t_next, max(b0, now), min(b1, past), first_panel, last_panel, scratch, form)
        if projected:
            end = min(b1, now)
            if_projected(form, _retreat_projection, plan, like, d, t, t_next, past, b0, end, scratch, slots, form)
        before, after = (t + 2, t + 1) if d else (t, t + 1)
        carry_before, carry_after = (t + 1, t) if d else (t, t + 1)
        here, going_on = min(b1, now) - b0, min(b1, now, past) - b0
        for n in range(first_here, last_here):
            panel = n if number & 1 == 0 else first_here + last_here - 1 - n
            n0 = panel_start(columns, U, panel)
            vectors = panel_vectors(columns - n0, U)
            b = 0
            while b < here:
                continues = b < going_on  # sequences that go on come first, then those whose last step this is
                end = going_on if continues else here
                groups = groups_of(end - b)
                while groups > 0:
                    rows = (end - b + groups - 1) // groups
                    dy, dy_row = step(dy_0, (row + b) * h_row + n0), h_row
                    if projected:
                        if_projected(form, _times_projection, plan, like, d, row + b, rows, n0, vectors, dh, zeros)
                        dy, dy_row = zeros, 0
                    else:
                        tile, W = get(plan, p.SPLIT_TILES + vectors), step(W_0, n0 * depth)
                        dz = step(z_0, (z_next + b) * slots + form.first_hh * width)
                        start, start_row, segments = zeros, 0, blocks
                        if not continues:
                            dz, start, start_row, segments = z_0, step(start_0, b * padded + n0), padded, 0
                        call_tile(tile, rows, dh, vectors * U, start, start_row, dz, slots, 1, W, K, segments, z_block)
                    for v in range(vectors):
                        j0 = n0 + v * U
                        if j0 >= H:
                            break
                        unit = j0 // U
                        at = step(z_0, j0 // width * z_block + (z + b) * slots + j0 % width)
                        carry = step(carry_0, unit * carry_unit + b * U)
                        cell_block_grad(
                            form,
                            rows,
                            at,
                            slots,
                            step(dh, v * U),
                            vectors * U,
                            dy if projected else step(dy, v * U),
                            dy_row,
                            step(dcarry_0, unit * dcarry_unit + b * U),
                            step(carry, carry_before * carry_step),
                            step(carry, carry_after * carry_step),
                            step(h_0, before * h_step + b * h_row + j0),
                            step(h_0, after * h_step + b * h_row + j0),
                            h_row,
                            H - j0,
                        )
                        if j0 + U >= H:  # what is left of a block has no units, and must not enter any sum
                            for r in range(rows):
                                for rest in range(j0 % width + U, width, U):
                                    clear_vector(step(at, r * slots + rest - j0 % width))
                    b += rows
                    groups -= 1


@njit(**_UNIT)
def _times_projection(plan, like, d, row, rows, n0, vectors, dh, zeros):
    """dh of a panel of units before the projection: that of the projected state, which is known, times W_hr."""
    U = lanes_of(like)
    H, depth = get(plan, p.H), _padded(plan, like)
    W = step(pointer_at(get(plan, p.PACKED_HR), like), d * depth * ((H + U - 1) // U * U) + n0 * depth)
    total = step(pointer_at(get(plan, p.DH_TOTAL), like), (d * first_row(plan, get(plan, p.T)) + row) * depth)
    _product(plan, vectors, rows, dh, vectors * U, zeros, 0, total, depth, 1, W, depth, 1, 0)


@njit(**_UNIT)
def _retreat_projection(plan, like, d, t, t_next, past, b0, b1, scratch, slots, form):
    """dh of the projected hidden state, all P numbers of it, dy included."""
    U = lanes_of(like)
    P, D = get(plan, p.P), get(plan, p.D)
    dh = step(scratch, MAX_ROWS * _SUMS * U)
    zeros = step(scratch, MAX_ROWS * (_SUMS + _DH + _EDGE) * U)
    dy_part = step(scratch, MAX_ROWS * (_SUMS + _DH) * U)
    padded = _padded(plan, like)
    total = pointer_at(get(plan, p.DH_TOTAL), like)
    rows_of_all = first_row(plan, get(plan, p.T))
    for panel in range(panel_count(P, U)):
        n0 = panel_start(P, U, panel)
        vectors = panel_vectors(P - n0, U)
        b = b0
        while b < b1:
            end = min(b1, past) if b < past else b1
            rows = min(MAX_ROWS, end - b)
            _start_dh(plan, like, d, t_next, b < past, b, rows, n0, vectors, dh, zeros, slots, form)
            for r in range(rows):
                row = first_row(plan, t) + b + r
                dy = step(pointer_at(get(plan, p.DY), like), row * D * P + d * P + n0)
                to = step(total, (d * rows_of_all + row) * padded + n0)
                for v in range(0, vectors * U, U):
                    if n0 + v < P:
                        load_part(dy_part, step(dy, v), P - n0 - v)
                        add_vector(dy_part, step(dh, r * vectors * U + v))
                        copy_row(step(to, v), dy_part, U)
            b += rows


@njit(**_UNIT)
def _finish(plan, like, d, t, b0, b1, first_panel, last_panel, scratch, form):
    """dh0 and dc0 of sequences whose first step, t, has been computed."""
    U = lanes_of(like)
    B, H, P, blocks = get(plan, p.B), get(plan, p.H), get(plan, p.P), get(plan, p.BLOCKS)
    width = form.vectors * U
    slots = form.slots * width
    dh = step(scratch, MAX_ROWS * _SUMS * U)
    zeros = step(scratch, MAX_ROWS * (_SUMS + _DH + _EDGE) * U)
    is_lstm = get(plan, p.HAS_CARRY) != 0
    adds_carry = form.gates == 3
    for panel in range(first_panel, min(last_panel, panel_count(P, U))):
        n0 = panel_start(P, U, panel)
        vectors = panel_vectors(P - n0, U)
        b = b0
        while b < b1:
            rows = min(MAX_ROWS, b1 - b)
            row = z_row(plan, t, b)
            K = form.gates * width
            _dz_times_weights(plan, like, d, row, rows, n0, vectors, K, blocks, zeros, ZERO, dh, slots, form)
            for r in range(rows):
                target = step(pointer_at(get(plan, p.DH0), like), (d * B + b + r) * P + n0)
                for v in range(vectors):
                    if n0 + v * U < P:
                        part = step(dh, (r * vectors + v) * U)
                        if adds_carry:
                            add_vector(part, _dcarry_of(plan, like, d, n0 // U + v, b + r))
                        store_part(step(target, v * U), part, P - n0 - v * U)
            b += rows
    if is_lstm and first_panel == 0:
        for b in range(b0, b1):
            target = step(pointer_at(get(plan, p.DC0), like), (d * B + b) * H)
            for unit in range((H + U - 1) // U):
                store_part(step(target, unit * U), _dcarry_of(plan, like, d, unit, b), H - unit * U)


@njit(**_UNIT)
def _add_rows_product(plan, dW, row_0, rows, N, n0, vectors, A, a_step, panel, K, runs, run_step, edge):
    """``dW[row_0 : row_0 + rows, n0 : n0 + panel's width] += A^T @ panel``; only columns that exist are written.

    A has ``runs`` times K rows.
    """
    U = lanes_of(dW)
    columns = vectors * U
    r = 0
    groups = groups_of(rows)
    while groups > 0:
        count = (rows - r + groups - 1) // groups
        C = step(dW, (row_0 + r) * N + n0)
        if n0 + columns <= N:
            _product(plan, vectors, count, C, N, C, N, step(A, r), 1, a_step, panel, K, runs, run_step)
        else:
            for n in range(count):
                for v in range(0, columns, U):
                    if n0 + v < N:
                        load_part(step(edge, n * columns + v), step(C, n * N + v), N - n0 - v)
            a = step(A, r)
            _product(plan, vectors, count, edge, columns, edge, columns, a, 1, a_step, panel, K, runs, run_step)
            for n in range(count):
                for v in range(0, columns, U):
                    if n0 + v < N:
                        store_part(step(C, n * N + v), step(edge, n * columns + v), N - n0 - v)
        r += count
        groups -= 1


@njit(**_UNIT)
def _gather(panel, source, source_row, rows, n0, columns, N):
    """Copy a panel of columns of some rows, zeros beyond the last column."""
    U = lanes_of(panel)
    for r in range(rows):
        for v in range(0, columns, U):
            to = step(panel, r * columns + v)
            if n0 + v < N:
                load_part(to, step(source, r * source_row + n0 + v), N - n0 - v)
            else:
                clear_vector(to)


@njit(**_UNIT)
def _sums(plan, like, d, n):
    """Where slice n of the batch has its own sums; the first one has none, it adds to the result."""
    size = get(plan, p.SUMS_SIZE)
    return step(pointer_at(get(plan, p.SUMS), like), (d * (get(plan, p.SLICES) - 1) + n - 1) * size)


@njit(**_UNIT)
def _target(plan, like, d, n, name, place):
    """Where a gradient is summed over slice n: ``place`` numbers into its sums, or in the array of that name."""
    if n > 0:
        return step(_sums(plan, like, d, n), place)
    return pointer_at(get(plan, name + d), like)


@njit(**_UNIT)
def _weight_gradients(plan, like, d, t0, t1, n_slice, b0, b1, u0, u1, scratch, form):
    """Add some sequences' share of dW_ih and dW_hh in a chunk, for some gates of some blocks."""
    U = lanes_of(like)
    I, H, P, D = get(plan, p.I), get(plan, p.H), get(plan, p.P), get(plan, p.D)
    width = form.vectors * U
    slots = form.slots * width
    row_0 = z_row(plan, t0, b0)
    in_band = band_of(plan, b0)[1]
    spread = in_band > b1 - b0  # the rows of a step, and those of the next
    edge = step(scratch, MAX_ROWS * (_SUMS + _DH) * U)
    panel = step(scratch, _FIXED * U)
    x = pointer_at(get(plan, p.X_KEPT), like)
    for recurrent in range(2):
        N = P if recurrent else I
        name, place = (p.DW_HH, form.gates * H * I) if recurrent else (p.DW_IH, 0)
        dW = _target(plan, like, d, n_slice, name, place)
        first = form.first_hh if recurrent else form.first_ih
        turn = form.turn_hh if recurrent else form.turn_ih
        n0 = ZERO
        while n0 < N:
            vectors = panel_vectors(N - n0, U)
            rows = 0
            for t in range(t0, t1):
                count = min(b1, active_rows(plan, t)) - b0
                source = step(x, (first_row(plan, t) + b0) * I)
                if recurrent:
                    source = h_of(plan, like, d, t + 2 if d else t, b0)
                row = D * P if recurrent else I
                _gather(step(panel, rows * vectors * U), source, row, count, n0, vectors * U, N)
                rows += count
            for unit in range(u0, u1):
                block, n = unit // form.gates, unit % form.gates
                gate = (n + turn) % form.gates
                j0 = block * width
                count = min(width, H - j0)
                A = step(_z(plan, like, d, block, row_0, slots), (first + n) * width)
                K, runs = (b1 - b0, t1 - t0) if spread else (rows, ONE)
                to, far = gate * H + j0, in_band * slots
                _add_rows_product(plan, dW, to, count, N, n0, vectors, A, slots, panel, K, runs, far, edge)
            n0 += vectors * U


@njit(**_UNIT)
def _bias_gradients(plan, like, d, n_slice, row_0, rows, runs, far, u0, u1, scratch, form):
    """Add the sums of dz over some rows, for some blocks: products with rows of ones, one for every run of rows."""
    if get(plan, p.DB_IH + d) == 0:
        return
    U = lanes_of(like)
    I, H, P = get(plan, p.I), get(plan, p.H), get(plan, p.P)
    width = form.vectors * U
    slots = form.slots * width
    zeros = step(scratch, MAX_ROWS * (_SUMS + _DH + _EDGE) * U)
    one = step(zeros, 4 * U)
    sums = scratch
    place = form.gates * H * (I + P)
    db_ih = _target(plan, like, d, n_slice, p.DB_IH, place)
    db_hh = _target(plan, like, d, n_slice, p.DB_HH, place + form.gates * H)
    for block in range(u0, u1):
        for run in range(runs):
            z = _z(plan, like, d, block, row_0 + run * far, slots)
            start = sums if run else zeros
            if form.slots == 4:
                _product(plan, 4, 1, sums, slots, start, 0, one, 0, 0, z, rows, 1, 0)
            else:
                one_gate(plan, ONE, sums, slots, start, ZERO, one, ZERO, ZERO, z, rows)
        count = min(width, H - block * width)
        for n in range(form.gates):
            to_ih = (n + form.turn_ih) % form.gates * H + block * width
            to_hh = (n + form.turn_hh) % form.gates * H + block * width
            for j in range(count):
                put(db_ih, to_ih + j, get(db_ih, to_ih + j) + get(sums, (form.first_ih + n) * width + j))
                put(db_hh, to_hh + j, get(db_hh, to_hh + j) + get(sums, (form.first_hh + n) * width + j))


@njit(**_UNIT)
def _projection_gradient(plan, like, d, t0, t1, first, last, scratch):
    """Add a chunk's share of dW_hr for the rows ``first:last`` of it."""
    U = lanes_of(like)
    H, _B = get(plan, p.H), get(plan, p.B)
    row_0 = first_row(plan, t0)
    rows = first_row(plan, t1) - row_0
    padded = _padded(plan, like)
    edge = step(scratch, MAX_ROWS * (_SUMS + _DH) * U)
    panel = step(scratch, _FIXED * U)
    dW = pointer_at(get(plan, p.DW_HR + d), like)
    total = pointer_at(get(plan, p.DH_TOTAL), like)
    A = step(total, (d * first_row(plan, get(plan, p.T)) + row_0) * padded + first)
    n0 = ZERO
    while n0 < H:
        vectors = panel_vectors(H - n0, U)
        done = 0
        for t in range(t0, t1):
            count = active_rows(plan, t)
            _gather(step(panel, done * vectors * U), m_of(plan, like, d, t, ZERO), H, count, n0, vectors * U, H)
            done += count
        _add_rows_product(plan, dW, first, last - first, H, n0, vectors, A, padded, panel, rows, ONE, ZERO, edge)
        n0 += vectors * U


@njit(**_UNIT)
def _input_gradient(plan, like, d, z_0, x_0, z_far, x_far, count, runs, z_next, x_next, scratch, form):
    """dx of ``runs`` times ``count`` rows; ``far`` is from row to row, ``next`` from run to run, in z and in x."""
    U = lanes_of(like)
    I, blocks = get(plan, p.I), get(plan, p.BLOCKS)
    width = form.vectors * U
    slots = form.slots * width
    depth = blocks * form.gates * width
    edge = step(scratch, MAX_ROWS * (_SUMS + _DH) * U)
    zeros = step(scratch, MAX_ROWS * (_SUMS + _DH + _EDGE) * U)
    W = step(pointer_at(get(plan, p.PACKED_IH), like), d * depth * ((I + U - 1) // U * U))
    dx = step(pointer_at(get(plan, p.DX), like), d * first_row(plan, get(plan, p.T)) * I)
    K, segment = form.gates * width, get(plan, p.ROWS) * slots
    n0 = ZERO
    while n0 < I:
        vectors = panel_vectors(I - n0, U)
        columns = vectors * U
        panel = step(W, n0 * depth)
        for run in range(runs):
            done = 0
            groups = groups_of(count)
            while groups > 0:
                rows = (count - done + groups - 1) // groups
                row = z_0 + run * z_next + done * z_far
                dz = step(_z(plan, like, d, ZERO, row, slots), form.first_ih * width)
                C = step(dx, (x_0 + run * x_next + done * x_far) * I + n0)
                whole = n0 + columns <= I
                to, to_row = (C, x_far * I) if whole else (edge, columns)
                _product(plan, vectors, rows, to, to_row, zeros, 0, dz, z_far * slots, 1, panel, K, blocks, segment)
                if not whole:
                    for r in range(rows):
                        for v in range(0, columns, U):
                            if n0 + v < I:
                                store_part(step(C, r * x_far * I + v), step(edge, r * columns + v), I - n0 - v)
                done += rows
                groups -= 1
        n0 += columns


@njit(**_UNIT)
def _products(plan, like, d, t0, t1, part, first_slice, last_slice, sums_all, scratch, form):
    """The matrix products of a chunk: those of slices of one band that have sums of their own, or a share of all.

    Sums over all rows are worked out if ``sums_all``: not again for the second of several bands.
    """
    members, B, blocks = get(plan, p.MEMBERS), get(plan, p.B), get(plan, p.BLOCKS)
    units, apart = blocks * form.gates, get(plan, p.SUMS) != 0
    edges = pointer_at(get(plan, p.EDGES), plan)
    all_rows = first_row(plan, t1) - first_row(plan, t0)
    n0, n1, u0, u1, block_0, block_1 = first_slice, last_slice, 0, units, 0, blocks
    if not apart:
        n0, n1 = 0, get(plan, p.ORDER) if sums_all else 0
        u0, u1 = share(units, members, part), share(units, members, part + 1)
        block_0, block_1 = share(blocks, members, part), share(blocks, members, part + 1)
    for n in range(n0, n1):
        b0, b1, n_sums = share(B, n1, n), share(B, n1, n + 1), 0
        if apart:
            b0, b1, n_sums = get(edges, n), get(edges, n + 1), n
        in_band = band_of(plan, b0)[1]
        rows, runs = b1 - b0, t1 - t0
        if rows == in_band:
            rows, runs = all_rows if rows == B else rows * runs, 1
        _weight_gradients(plan, like, d, t0, t1, n_sums, b0, b1, u0, u1, scratch, form)
        _bias_gradients(
            plan, like, d, n_sums, z_row(plan, t0, b0), rows, runs, in_band, block_0, block_1, scratch, form
        )
    if get(plan, p.W_HR + d) != 0:
        P = get(plan, p.P)
        r0, r1 = share(P, members, part), share(P, members, part + 1)
        if_projected(form, _projection_gradient, plan, like, d, t0, t1, r0, r1, scratch)
    if apart or get(plan, p.BANDS) != 0:  # a member's own sequences
        b0, b1 = get(edges, first_slice), get(edges, last_slice)
        in_band = band_of(plan, b0)[1]
        z_0, x_0 = z_row(plan, t0, b0), t0 * B + b0
        if b1 - b0 >= MAX_ROWS or t1 - t0 < b1 - b0:  # runs of sequences at one step
            count, z_far, x_far = b1 - b0, 1, 1
            runs, z_next, x_next = t1 - t0, in_band, B
        else:  # few sequences: runs of steps of one sequence
            count, z_far, x_far = t1 - t0, in_band, B
            runs, z_next, x_next = b1 - b0, 1, 1
    else:
        z_0 = x_0 = first_row(plan, t0) + share(all_rows, members, part)
        count, z_far, x_far = share(all_rows, members, part + 1) - share(all_rows, members, part), 1, 1
        runs, z_next, x_next = 1, 0, 0
    _input_gradient(plan, like, d, z_0, x_0, z_far, x_far, count, runs, z_next, x_next, scratch, form)


@njit(**_UNIT)
def _clear_sums(plan, like, d, first_slice, last_slice):
    U = lanes_of(like)
    for n in range(max(1, first_slice), last_slice):
        sums = _sums(plan, like, d, n)
        for v in range(0, get(plan, p.SUMS_SIZE), U):
            clear_vector(step(sums, v))


@njit(**_UNIT)
def _add_sums(plan, like, d, name, place, size, part):
    """Add one member's share of all slices' sums to a gradient."""
    members, U = get(plan, p.MEMBERS), lanes_of(like)
    if get(plan, name + d) == 0:
        return
    first, last = share(size, members, part), share(size, members, part + 1)
    target = pointer_at(get(plan, name + d), like)
    for n in range(1, get(plan, p.SLICES)):
        sums = step(_sums(plan, like, d, n), place)
        whole = first + (last - first) // U * U
        for v in range(first, whole, U):
            add_vector(step(target, v), step(sums, v))
        for v in range(whole, last):
            put(target, v, get(target, v) + get(sums, v))


@njit(**_UNIT)
def _add_all_sums(plan, like, d, part, form):
    I, H, P = get(plan, p.I), get(plan, p.H), get(plan, p.P)
    rows = form.gates * H
    _add_sums(plan, like, d, p.DW_IH, ZERO, rows * I, part)
    _add_sums(plan, like, d, p.DW_HH, rows * I, rows * P, part)
    _add_sums(plan, like, d, p.DB_IH, rows * (I + P), rows, part)
    _add_sums(plan, like, d, p.DB_HH, rows * (I + P + 1), rows, part)


@njit(inline="always", **_UNIT)  # by Numba: not compiled once for itself and once more in its only caller
def _run_phase(plan, like, d, phase, part, member, form):
    """One member's part of a phase. The phases: packing; for every chunk its scan and its products; dh0 and dc0.

    By units the scan has a phase for every step. Slices with their own sums have a phase for all of it after the
    packing, and one in which the sums are added up.
    """
    T, B, chunk, members = get(plan, p.T), get(plan, p.B), get(plan, p.CHUNK), get(plan, p.MEMBERS)
    scratch = step(pointer_at(get(plan, p.SCRATCH), like), member * get(plan, p.SCRATCH_SIZE))
    panels = panel_count(get(plan, p.P), lanes_of(like))
    constants = step(scratch, MAX_ROWS * (_SUMS + _DH + _EDGE) * lanes_of(like))
    for v in range(4):
        clear_vector(step(constants, v * lanes_of(like)))
    put(constants, 4 * lanes_of(like), 1)
    by_units, apart = get(plan, p.SPLIT_UNITS) != 0, get(plan, p.SUMS) != 0
    slices = get(plan, p.SLICES)
    first_slice, last_slice = share(slices, members, part), share(slices, members, part + 1)
    if phase == 0:
        _begin(plan, like, d, part, form)
        if apart:
            _clear_sums(plan, like, d, first_slice, last_slice)
        return
    if apart:
        if phase == 2:
            _add_all_sums(plan, like, d, part, form)
            return
        first_chunk, last_chunk, inside = 0, (T + chunk - 1) // chunk, 0
        scans = multiplies = finishes = True
    else:
        per_chunk = chunk + 1 if by_units else 2
        first_chunk, inside = (phase - 1) // per_chunk, (phase - 1) % per_chunk
        last_chunk = first_chunk + 1
        finishes = phase == get(plan, p.PHASES) - 1
        multiplies = inside == (min(chunk, T - first_chunk * chunk) if by_units else 1) and not finishes
        scans = not multiplies and not finishes
    n0, n1 = 0, panels
    if by_units:
        n0, n1 = share(panels, members, part), share(panels, members, part + 1)
    edges = pointer_at(get(plan, p.EDGES), plan)
    n = first_slice
    while n < last_slice:
        first_of_band, in_band = band_of(plan, get(edges, n))
        end = n + 1  # the slices of a band are scanned together
        while end < last_slice and get(edges, end) < first_of_band + in_band:
            end += 1
        b0, b1 = (0, B) if by_units else (get(edges, n), get(edges, end))
        for number_of_chunk in range(first_chunk, last_chunk):
            first = number_of_chunk * chunk
            last = min(T, first + chunk)
            if scans:
                begin, behind = (first + inside, first + inside + 1) if by_units else (first, last)
                _retreat(plan, like, d, begin, behind, b0, b1, n0, n1, scratch, form)
            if multiplies:
                t0, t1 = (first, last) if d else (T - last, T - first)
                _products(plan, like, d, t0, t1, part, n, end, n == first_slice, scratch, form)
        if finishes:
            if get(plan, p.BANDS) == 0 and not apart:
                b0, b1 = share(B, members, part), share(B, members, part + 1)
            t = T - 1 if d else 0
            _finish(plan, like, d, t, b0, min(b1, active_rows(plan, t)), ZERO, panels, scratch, form)
        n = end


def count_phases(T: int, chunk: int, by_units: bool, apart: bool) -> int:
    """Number of phases of a backward pass; ``apart``: slices of the batch have their own sums."""
    if apart:
        return 3
    chunks = -(-T // chunk)
    return 2 + chunks + (T if by_units else chunks)


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


_TILES = {1, 2, 4}
BACKWARD = {
    "lstm": Kernel(_lstm, _TILES, _TILES),
    "lstm, projected": Kernel(_projected_lstm, _TILES, _TILES),
    "gru": Kernel(_gru, _TILES, _TILES),
    "rnn_tanh": Kernel(_rnn_tanh, _TILES, _TILES),
    "rnn_relu": Kernel(_rnn_relu, _TILES, _TILES),
}
