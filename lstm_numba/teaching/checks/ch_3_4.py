"""Checks of chapter 3.4, recurrence after Transformers."""

import numpy as np

from lstm_numba.reference.scan import linear_scan, linear_scan_grad
from lstm_numba.reference.xlstm import exponential_gates
from lstm_numba.teaching import Check, Mistake, exercise


def _parts(check: Check, given, names: tuple[str, ...]) -> tuple:
    """The reader's results, if there are as many as there should be."""
    check.true(
        f"returns {', '.join(names)}",
        isinstance(given, (tuple, list)) and len(given) == len(names),
        hint=f"Return {len(names)} values: {', '.join(names)}.",
    )
    return tuple(given)


@exercise("3.4")
def check_compose(check: Check, compose) -> None:
    """Two linear steps, one after the other, as one linear step."""
    rng = np.random.default_rng(34)
    (a_1, b_1), (a_2, b_2) = rng.normal(size=(2, 2, 5))
    A, B = _parts(check, check.call("runs", compose, (a_1, b_1), (a_2, b_2)), ("A", "B"))
    check.close(
        "the factor A",
        A,
        a_2 * a_1,
        mistakes=[Mistake(a_2 + a_1, "Factors multiply: h is multiplied by the first and then by the second.")],
        hint="Put a_1 h + b_1 in the place of h in a_2 h + b_2 and collect what multiplies h.",
    )
    check.close(
        "the summand B",
        B,
        a_2 * b_1 + b_2,
        mistakes=[
            Mistake(a_1 * b_2 + b_1, "The order is the other way round: `first` happens first."),
            Mistake(b_1 + b_2, "What the first step wrote passes through the second: it is multiplied by a_2."),
        ],
        hint="Put a_1 h + b_1 in the place of h in a_2 h + b_2 and collect what does not multiply h.",
    )


@exercise("3.4")
def check_scan_grad(check: Check, scan_grad) -> None:
    """The gradient of a scan: a scan from the end."""
    rng = np.random.default_rng(35)
    a, b, dy = rng.normal(size=(3, 6, 4))
    h = linear_scan(a, b, rng.normal(size=4))
    da, db, dh0 = linear_scan_grad(dy, np.zeros(4), a, h)
    given_da, given_db, given_dh0 = _parts(check, check.call("runs", scan_grad, dy, a, h), ("da", "db", "dh0"))
    own = np.empty_like(dy)  # multiplies by a_t where a_{t+1} belongs
    running = np.zeros(4)
    for t in reversed(range(6)):
        running = own[t] = a[t] * running + dy[t]
    check.close(
        "db",
        given_db,
        db,
        mistakes=[
            Mistake(dy, "h_t is not only an output: it also feeds the next step. Add what comes back from there."),
            Mistake(own, "From step t + 1 back to step t the factor is a[t + 1], not a[t]."),
        ],
        hint="db[t] = dy[t] + a[t + 1] * db[t + 1], and db[T - 1] = dy[T - 1].",
    )
    check.close(
        "da",
        given_da,
        da,
        mistakes=[
            Mistake(db * h[1:], "a_t multiplies the state before the step, which is h[t], not h[t + 1]."),
            Mistake(dy * h[:-1], "Use the total derivative db, not dy."),
        ],
        hint="a_t multiplies h_{t-1}, so da[t] = db[t] * h[t] (slot 0 of h is the initial state).",
    )
    check.close(
        "dh0",
        given_dh0,
        dh0,
        mistakes=[Mistake(db[0], "From h_1 back to h_0 there is one more factor: a[0].")],
        hint="dh0 = a[0] * db[0].",
    )


@exercise("3.4")
def check_parity_step(check: Check, parity_step) -> None:
    """Coefficients of a linear recurrence that computes parity, from one bit."""
    state = {}
    for bit in (0, 1):
        a, b = _parts(check, check.call(f"runs for x = {bit}", parity_step, bit), ("a", "b"))
        state[bit] = float(a), float(b)
    check.true(
        "stays bounded: |a| <= 1",
        all(abs(a) <= 1 for a, _ in state.values()),
        hint="Keep |a| at most 1. What would flip a sign?",
    )
    bits = np.random.default_rng(36).integers(0, 2, 300)
    h = [1.0]
    for bit in bits:
        a, b = state[int(bit)]
        h.append(a * h[-1] + b)
    expected = 1.0 - 2.0 * (np.cumsum(bits) % 2)

    def outputs(zero, one):
        run = [1.0]
        for bit in bits:
            a, b = one if bit else zero
            run.append(a * run[-1] + b)
        return np.array(run[1:])

    check.close(
        "+1 after an even number of ones, -1 after an odd one, over 300 bits",
        np.array(h[1:]),
        expected,
        mistakes=[
            Mistake(outputs((1, 0), (0, -1)), "That writes -1 at every one. The second one must lead back to +1."),
            Mistake(outputs((-1, 0), (1, 0)), "This flips at the zeros."),
            Mistake(outputs((-1, 0), (-1, 0)), "This flips at every bit. A zero must leave the state alone."),
        ],
        hint="A zero keeps the state: a = 1, b = 0. A one changes its sign.",
    )


@exercise("3.4")
def check_stabilise(check: Check, stabilise) -> None:
    """Exponential gates in units of a running scale."""
    rng = np.random.default_rng(37)
    for name, size in (("moderate inputs", 2.0), ("inputs of several hundred", 400.0)):
        z_i, log_f, m_prev = size * rng.normal(size=6), -size * rng.random(6), size * rng.normal(size=6)
        z_i[0] = 450 * size**0.5 if size > 100 else z_i[0]  # no float holds the exponential of 9000
        m = np.maximum(log_f + m_prev, z_i)
        i, f = np.exp(z_i - m), np.exp(log_f + m_prev - m)
        with np.errstate(over="ignore", invalid="ignore"):
            given = _parts(check, check.call(f"runs for {name}", stabilise, z_i, log_f, m_prev), ("i", "f", "m"))
            check.true(
                f"finite for {name}",
                all(np.isfinite(part).all() for part in given),
                hint="e^m or e^z_i overflows. Subtract in the exponent, before exp.",
            )
            late = np.maximum(log_f, z_i)
            check.close(
                f"the scale m, {name}",
                given[2],
                m,
                mistakes=[
                    Mistake(late, "The old memory is e^m_prev times what is stored: compare log f + m_prev with z_i."),
                    Mistake(np.maximum(m_prev, z_i), "The old scale shrinks by the forget gate: log f + m_prev."),
                    Mistake(np.minimum(log_f + m_prev, z_i), "Take the larger one: then no factor exceeds 1."),
                ],
                hint="m is the larger of log f + m_prev (the old memory) and z_i (the new entry).",
            )
            check.close(
                f"the input gate, {name}",
                given[0],
                i,
                mistakes=[
                    Mistake(np.exp(z_i), "Divide by e^m: subtract m in the exponent."),
                ],
                hint="i = exp(z_i - m).",
            )
            check.close(
                f"the forget gate, {name}",
                given[1],
                f,
                mistakes=[
                    Mistake(np.exp(log_f), "The stored memory was divided by e^m_prev and is now divided by e^m."),
                    Mistake(np.exp(log_f - m), "The old scale belongs in the exponent as well: log f + m_prev - m."),
                ],
                hint="f = exp(log_f + m_prev - m).",
            )
    z_i, z_f, m_prev = rng.normal(size=(3, 4))
    log_f = -np.log1p(np.exp(-z_f))
    given = _parts(check, check.call("runs", stabilise, z_i, log_f, m_prev), ("i", "f", "m"))
    for name, ours, theirs in zip(("i", "f", "m"), given, exponential_gates(z_i, z_f, m_prev), strict=True):
        check.close(f"{name} equals the package's", ours, theirs, hint="Compare with the equations.")


@exercise("3.4")
def check_read_memory(check: Check, read_memory) -> None:
    """What a query gets from a matrix memory."""
    rng = np.random.default_rng(38)
    for name, m, overlap in (("a full memory", 1.5, -2.5), ("a nearly empty memory", 0.7, -0.2)):
        C, n, q = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
        n *= overlap / (n @ q)  # negative, so that a missing abs shows
        size = np.maximum(abs(n @ q), np.exp(-m))
        given = check.call(f"runs for {name}", read_memory, C, n, m, q)
        check.close(
            f"what is read from {name}",
            given,
            C @ q / size,
            mistakes=[
                Mistake(C.T @ q / size, "Rows of C are values and columns are keys: C @ q."),
                Mistake(C @ q / np.maximum(abs(n @ q), 1), "In units of the scale, the floor of 1 becomes e^-m."),
                Mistake(C @ q, "Divide by the normaliser."),
                Mistake(C @ q / (n @ q), "Take the absolute value, and never divide by less than e^-m."),
                Mistake(C @ q / abs(n @ q), "The normaliser has a floor: e^-m."),
                Mistake(C @ q / np.maximum(n @ q, np.exp(-m)), "Take the absolute value of the overlap first."),
            ],
            hint="C @ q divided by the larger of |n . q| and e^-m.",
        )
