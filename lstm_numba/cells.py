"""The equations. Every fast kernel, on CPU or GPU, computes a cell by calling these scalar functions.

Each function works on one hidden unit of one sequence at one time step. The functions carry no shapes and no
loops, so the same definition compiles into a CPU loop or a CUDA kernel. ``sigmoid`` and ``tanh`` come from
:mod:`lstm_numba.elementary`, in a form that vectorises. The NumPy reference in :mod:`lstm_numba.reference` is
written separately from all of this and is what it is tested against.

Two habits keep ``float32`` code in ``float32``: constants are made with ``type(x)(1)``, and derivatives are
expressed through the value of the activation (``s - s * s``) instead of through new literals.
"""

import math

from numba import njit

from lstm_numba.elementary import exp, sigmoid, tanh

# 'contract' allows fused multiply-add and nothing else: NaN, Inf and the order of sums are untouched.
# The numpy error model makes 1/0 an Inf instead of a Python exception, which would block vectorisation.
# Inlining is forced because a loop around a call cannot be vectorised.
_equation = njit(error_model="numpy", fastmath={"contract"}, forceinline=True)


@_equation
def dsigmoid(s):
    """Derivative of the sigmoid, written in terms of its value ``s = sigmoid(x)``."""
    return s - s * s


@_equation
def dtanh(a):
    """Derivative of tanh, written in terms of its value ``a = tanh(x)``."""
    return type(a)(1) - a * a


@_equation
def lstm_step(z_i, z_f, z_g, z_o, c_prev):
    """Advance one LSTM unit by one time step.

    The four pre-activations ``z`` already hold ``W_ih x + b_ih + W_hh h_prev + b_hh``. Returns the gates, the
    new cell state and the new hidden state: ``i, f, g, o, c, h`` (Gers, Schmidhuber & Cummins, 2000).
    """
    i = sigmoid(z_i)  # input gate: how much of the candidate to write
    f = sigmoid(z_f)  # forget gate: how much of the old cell state to keep
    g = tanh(z_g)  # candidate: what to write
    o = sigmoid(z_o)  # output gate: how much of the cell state to show
    c = f * c_prev + i * g
    h = lstm_output(o, c)  # o * tanh(c)
    return i, f, g, o, c, h


@_equation
def lstm_output(o, c):
    """Last line of an LSTM step: the new hidden state.

    It has a name of its own because it has to wait for everything before it. A kernel that computes many units is
    faster if it first takes all of them as far as ``c``.
    """
    return o * tanh(c)


@_equation
def lstm_step_grad(dh, dc, i, f, g, o, c_prev, c):
    """Take one LSTM unit one time step back: the chain rule through :func:`lstm_step`.

    ``dh`` and ``dc`` are the total derivatives of the loss with respect to ``h`` and (through later steps)
    ``c``. Returns ``dz_i, dz_f, dz_g, dz_o, dc_prev``.
    """
    a = tanh(c)
    do = dh * a
    dc = dc + dh * o * dtanh(a)  # c reaches the loss through h as well as through the next step
    di = dc * g
    df = dc * c_prev
    dg = dc * i
    return di * dsigmoid(i), df * dsigmoid(f), dg * dtanh(g), do * dsigmoid(o), dc * f


@_equation
def gru_update(z_z, z_n, h_prev):
    """Second half of a GRU step: update gate, candidate, and the new hidden state between candidate and old state.

    Both pre-activations are complete; what the reset gate does to ``z_n`` has already happened. Returns
    ``z, n, h``. PyTorch's convention: ``z = 1`` keeps the old state.
    """
    z = sigmoid(z_z)  # update gate: how much of the old state to keep
    n = tanh(z_n)  # candidate (the "new" gate)
    h = (type(z)(1) - z) * n + z * h_prev
    return z, n, h


@_equation
def gru_update_grad(dh, z, n, h_prev):
    """Chain rule through :func:`gru_update`. Returns ``dz_z, dz_n, dh_prev``."""
    dz = dh * (h_prev - n)
    dn = dh * (type(z)(1) - z)
    return dz * dsigmoid(z), dn * dtanh(n), dh * z


@_equation
def gru_step(z_r, z_z, n_x, n_h, h_prev):
    """Advance one GRU unit by one time step, reset gate after the product (PyTorch, cuDNN, Keras' default).

    All four arguments are complete, biases included: ``n_x = W_in x + b_in`` and ``n_h = W_hn h_prev + b_hn`` are
    the two shares of the candidate, because the reset gate scales only the second. Returns ``r, z, n, h``.
    """
    r = sigmoid(z_r)  # reset gate: how much the candidate sees of the old state
    z, n, h = gru_update(z_z, n_x + r * n_h, h_prev)
    return r, z, n, h


@_equation
def gru_step_grad(dh, r, z, n, n_h, h_prev):
    """Take one GRU unit one time step back: the chain rule through :func:`gru_step`.

    Returns ``dz_r, dz_z, dn_x, dn_h, dh_prev``; the last is the direct path through the update gate only, the
    paths through the pre-activations come on top as matrix products.
    """
    dz_z, dn_x, dh_prev = gru_update_grad(dh, z, n, h_prev)
    dr = dn_x * n_h
    return dr * dsigmoid(r), dz_z, dn_x, dn_x * r, dh_prev


@_equation
def gru_reset(z_r, h_prev):
    """First half of a GRU step with the reset gate before the product (Cho et al., 2014; Keras' reset_after=False).

    Returns ``r`` and ``r * h_prev``, which the candidate's recurrent weights multiply; :func:`gru_update` follows
    with ``z_n = W_in x + b_in + W_hn (r * h_prev) + b_hn``.
    """
    r = sigmoid(z_r)
    return r, r * h_prev


@_equation
def gru_reset_grad(drh, r, h_prev):
    """Chain rule through :func:`gru_reset`, where ``drh`` belongs to ``r * h_prev``. Returns ``dz_r, dh_prev``."""
    return drh * h_prev * dsigmoid(r), drh * r


@_equation
def rnn_tanh_step(z):
    """Advance one unit of a simple (Elman) network: ``h = tanh(z)``."""
    return tanh(z)


@_equation
def rnn_tanh_step_grad(dh, h):
    """Chain rule through :func:`rnn_tanh_step`. Returns ``dz``."""
    return dh * dtanh(h)


@_equation
def rnn_relu_step(z):
    """Advance one unit of a simple network with ``h = max(z, 0)``. NaN stays NaN."""
    zero = type(z)(0)
    return zero if z < zero else z


@_equation
def rnn_relu_step_grad(dh, h):
    """Chain rule through :func:`rnn_relu_step`; the slope at the kink is 0. Returns ``dz``."""
    zero = type(dh)(0)
    return zero if h <= zero else dh


@_equation
def lstm1997_step(i, z_g, o, s_prev):
    """Advance one memory cell of 1997 by one time step: no forget gate, and its own squashing functions.

    ``i`` and ``o`` are the *values* of the two gates, which all cells of a block share. Returns ``g, s, h, y``: the
    squashed input in [-2, 2], the internal state, the squashed state in [-1, 1] and the output of the cell
    (Hochreiter & Schmidhuber, 1997, equations 4 to 9).
    """
    T = type(z_g)
    g = T(4) * sigmoid(z_g) - T(2)
    s = s_prev + i * g  # the constant error carousel: the weight of s_prev is 1 and stays 1
    h = T(2) * sigmoid(s) - T(1)
    return g, s, h, o * h


@_equation
def lstm1997_trace(i, g):
    """Derivatives of ``s`` after one step with respect to the pre-activations ``z_i`` and ``z_g``, s_prev held fixed.

    The learning rule of 1997 adds these, times the incoming signal, to one trace for each weight; nothing else is
    carried through time.
    """
    T = type(g)
    return g * dsigmoid(i), i * (T(1) - T(0.25) * g * g)


@_equation
def lstm1997_errors(o, h, e):
    """Take the error ``e`` at a cell's output to the output gate's pre-activation and to the internal state."""
    T = type(h)
    return e * h * dsigmoid(o), e * o * T(0.5) * (T(1) - h * h)


# Activations of the cell family, by the position of their name in `lstm_numba.variants.ACTIVATIONS`.
_TANH, _IDENTITY, _SIGMOID, _CENTRED, _WIDE = 0, 1, 2, 3, 4


@_equation
def activation(kind, x):
    """One of the squashing functions of the cell family; ``kind`` is a compile-time constant."""
    one = type(x)(1)
    two = type(x)(2)
    if kind == _TANH:
        return tanh(x)
    if kind == _SIGMOID:
        return sigmoid(x)
    if kind == _CENTRED:
        return two * sigmoid(x) - one
    if kind == _WIDE:
        return two * (two * sigmoid(x) - one)
    return x


@_equation
def dactivation(kind, a):
    """Derivative of :func:`activation`, written in terms of its value ``a``."""
    one = type(a)(1)
    if kind == _TANH:
        return dtanh(a)
    if kind == _SIGMOID:
        return dsigmoid(a)
    if kind == _CENTRED:
        return (one - a * a) * type(a)(0.5)
    if kind == _WIDE:
        return one - a * a * type(a)(0.25)
    return one


@_equation
def lstm_variant_step(options, z_i, z_f, z_g, z_o, c_prev, p_i, p_f, p_o):
    """Advance one unit of any member of the LSTM family by one time step.

    ``options`` says which parts the cell has (``lstm_numba.variants.VariantOptions``, activations as codes).
    It is a constant when a kernel is compiled, so that a part that is left out costs nothing. The pre-activations
    ``z`` hold everything but the peepholes ``p``. Returns ``i, f, g, o, c, h``.
    """
    one = type(c_prev)(1)
    if options.peepholes:
        z_i = z_i + p_i * c_prev
        z_f = z_f + p_f * c_prev
    i = sigmoid(z_i) if options.input_gate else one
    f = sigmoid(z_f) if options.forget_gate else one
    if options.coupled:
        f = one - i
    g = activation(options.input_activation, z_g)
    c = f * c_prev + i * g
    if options.peepholes:
        z_o = z_o + p_o * c  # the output gate is the only one that sees the new cell state
    o = sigmoid(z_o) if options.output_gate else one
    h = o * activation(options.output_activation, c)
    return i, f, g, o, c, h


@_equation
def lstm_variant_step_grad(options, dh, dc, di, df, do, i, f, g, o, c_prev, c, p_i, p_f, p_o):
    """Take one unit of the LSTM family one time step back: the chain rule through :func:`lstm_variant_step`.

    ``di``, ``df`` and ``do`` arrive from the gates of the next step; without gate recurrence they are 0. Returns
    ``dz_i, dz_f, dz_g, dz_o, dc_prev``; a gate that is left out has ``dz = 0``.
    """
    zero = type(c)(0)
    a = activation(options.output_activation, c)
    do = do + dh * a
    dz_o = do * dsigmoid(o) if options.output_gate else zero
    dc = dc + dh * o * dactivation(options.output_activation, a)
    if options.peepholes:
        dc = dc + dz_o * p_o  # the output gate looked at c
    di = di + dc * g
    df = df + dc * c_prev
    if options.coupled:
        di = di - df  # f = 1 - i: what asks for more forgetting asks for less input
    dz_i = di * dsigmoid(i) if options.input_gate else zero
    dz_f = df * dsigmoid(f) if options.forget_gate and not options.coupled else zero
    dz_g = dc * i * dactivation(options.input_activation, g)
    dc_prev = dc * f
    if options.peepholes:
        dc_prev = dc_prev + dz_i * p_i + dz_f * p_f
    return dz_i, dz_f, dz_g, dz_o, dc_prev


@_equation
def mingru_gates(z_z, n):
    """Coefficients ``a, b`` of one step of a minGRU unit, ``h = a * h_prev + b`` (Feng et al., 2024).

    ``a = 1 - z`` keeps the old state and ``b = z * n`` writes the candidate ``n``, which is not squashed. Neither
    depends on ``h_prev``. ``sigmoid(-x)`` is ``1 - sigmoid(x)`` with all its digits where ``z`` is close to 1.
    """
    return sigmoid(-z_z), sigmoid(z_z) * n


@_equation
def mingru_gates_grad(dh, z_z, n, h_prev):
    """Chain rule through :func:`mingru_gates`, ``dh`` the total derivative of ``h``. Returns ``dz_z, dn``."""
    z = sigmoid(z_z)
    return dh * (n - h_prev) * dsigmoid(z), dh * z


@_equation
def minlstm_shares(z_i, z_f):
    """Shares of the forget and the input gate in their sum: ``f / (f + i), i / (f + i)``, both gates sigmoids.

    Numerator and denominator are divided by the largest of their exponentials, so that two closed gates do not
    give 0 / 0.
    """
    zero = type(z_i)(0)
    largest = -z_i if z_i < z_f else -z_f
    largest = largest if largest > zero else zero
    one, e_i, e_f = exp(-largest), exp(-z_i - largest), exp(-z_f - largest)
    f, i = one + e_i, one + e_f  # sigmoid(z_f) and sigmoid(z_i) over the same denominator
    return f / (f + i), i / (f + i)


@_equation
def minlstm_gates(z_i, z_f, g):
    """Coefficients ``a, b`` of one step of a minLSTM unit, ``h = a * h_prev + b`` (Feng et al., 2024)."""
    f, i = minlstm_shares(z_i, z_f)
    return f, i * g


@_equation
def minlstm_gates_grad(dh, z_i, z_f, g, h_prev):
    """Chain rule through :func:`minlstm_gates`. Returns ``dz_i, dz_f, dg``."""
    f, i = minlstm_shares(z_i, z_f)
    dz = dh * (h_prev - g) * f * i  # one share grows by what the other loses
    return -dz * sigmoid(-z_i), dz * sigmoid(-z_f), dh * i


@_equation
def log_sigmoid(x):
    """Logarithm of the sigmoid, without overflow: ``min(x, 0) - log(1 + e^-|x|)``."""
    zero = type(x)(0)
    return (x if x < zero else zero) - math.log1p(exp(-abs(x)))


@_equation
def exponential_gates(z_i, z_f, m_prev):
    """Input gate ``e^z_i`` and forget gate ``sigmoid(z_f)`` of the xLSTM, in units of a running scale ``e^m``.

    All that is remembered is stored divided by ``e^m``; ``m`` is chosen so that neither factor exceeds 1 and one of
    them is 1. An empty memory has ``m_prev = -inf``. Returns ``i, f, m`` (Beck et al., 2024, equations 15 to 17).
    """
    carried = log_sigmoid(z_f) + m_prev
    m = carried if carried > z_i else z_i
    return exp(z_i - m), exp(carried - m), m


@_equation
def exponential_gates_grad(di, df, i, f, z_f):
    """Chain rule through :func:`exponential_gates`. Returns ``dz_i, dz_f``.

    The scale is held fixed: it cancels in every quotient that leaves the memory, so no gradient passes through it.
    """
    return di * i, df * f * sigmoid(-z_f)


@_equation
def slstm_step(z_i, z_f, z_g, z_o, c_prev, n_prev, m_prev):
    """Advance one sLSTM unit by one time step (Beck et al., 2024, equations 8 to 17).

    Returns ``i, f, g, o, c, n, m, h``; ``c / n`` is a weighted mean of all candidates so far.
    """
    i, f, m = exponential_gates(z_i, z_f, m_prev)
    g = tanh(z_g)
    o = sigmoid(z_o)
    c = f * c_prev + i * g
    n = f * n_prev + i
    return i, f, g, o, c, n, m, o * c / n


@_equation
def slstm_step_grad(dh, dc, dn, i, f, g, o, z_f, c_prev, n_prev, c, n):
    """Take one sLSTM unit one time step back. Returns ``dz_i, dz_f, dz_g, dz_o, dc_prev, dn_prev``."""
    mean = c / n
    dmean = dh * o / n
    dc = dc + dmean
    dn = dn - dmean * mean
    dz_i, dz_f = exponential_gates_grad(dc * g + dn, dc * c_prev + dn * n_prev, i, f, z_f)
    return dz_i, dz_f, dc * i * dtanh(g), dh * mean * dsigmoid(o), dc * f, dn * f
