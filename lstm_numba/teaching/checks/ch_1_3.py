"""Checks of chapter 1.3, vanishing and exploding gradients."""

from collections.abc import Callable

import numpy as np

from lstm_numba.teaching.exercises import Check, Mistake, exercise

__all__ = [
    "check_clip_by_norm",
    "check_forget_bias_for_lag",
    "check_jacobian",
    "check_orthogonal",
    "check_product_of_jacobians",
    "check_steps_to_vanish",
]


@exercise("1.3")
def check_steps_to_vanish(check: Check, steps_to_vanish: Callable) -> None:
    """A function ``(rate, tiny)`` -> the first k with ``rate ** k < tiny``."""
    for rate, tiny in ((0.5, 1e-3), (0.9, 1e-7), (0.99, 0.05)):
        right = int(np.floor(np.log(tiny) / np.log(rate))) + 1
        steps = check.call(f"runs for {rate}, {tiny}", steps_to_vanish, rate, tiny)
        check.close(
            f"steps at rate {rate} until below {tiny}",
            steps,
            right,
            rtol=0,
            atol=1e-9,
            mistakes=[
                Mistake(np.log(tiny) / np.log(rate), "Round up: the number of steps is whole."),
                Mistake(right - 1, "After that many steps it is not yet below. Round up, not down."),
                Mistake(np.log(rate) / np.log(tiny), "The fraction is upside down: how many factors make the number?"),
                Mistake(1 / (1 - rate), "That is the time constant, after which 1/e is left, not the given number."),
            ],
            hint="rate ** k < tiny: take logarithms. ln(rate) is negative, so dividing by it turns the sign around.",
        )


def _step(h, x, W_ih, W_hh, b):
    return np.tanh(W_ih @ x + W_hh @ h + b)


@exercise("1.3")
def check_jacobian(check: Check, jacobian: Callable) -> None:
    """A function ``(h, W_hh)`` -> the Jacobian of the new state ``h`` with respect to the state before it."""
    rng = np.random.default_rng(1302)
    for H in (3, 5):
        W_ih, W_hh, b = rng.normal(size=(H, 2)), rng.normal(size=(H, H)), rng.normal(size=H)
        x, before = rng.normal(size=2), rng.normal(size=H)
        h = _step(before, x, W_ih, W_hh, b)
        right = np.stack([np.imag(_step(before + 1e-30j * e, x, W_ih, W_hh, b)) / 1e-30 for e in np.eye(H)], axis=1)
        slopes = 1 - h**2
        answer = check.call(f"runs for H = {H}", jacobian, h, W_hh)
        check.shape(f"shape for H = {H}", answer, (H, H), letters="(H, H)")
        check.close(
            f"Jacobian for H = {H}",
            answer,
            right,
            mistakes=[
                Mistake(
                    right.T, "That is the transpose. Entry (j, k) says how unit j of the new state reacts to unit k."
                ),
                Mistake(
                    W_hh * slopes, "The slopes stand on the wrong side: row j belongs to unit j, so row j is scaled."
                ),
                Mistake(W_hh, "The slope of tanh is missing."),
                Mistake((1 - np.tanh(h) ** 2)[:, None] * W_hh, "h is already tanh(z): the slope is 1 - h**2."),
                Mistake(np.diag(slopes), "That is the tanh alone. The old state passes through W_hh first."),
            ],
            hint="diag(1 - h**2) @ W_hh, which is (1 - h**2)[:, None] * W_hh.",
        )


@exercise("1.3")
def check_product_of_jacobians(check: Check, product: Callable) -> None:
    """A function ``(h, W_hh)`` -> the derivative of the last state with respect to ``h[0]``."""
    rng = np.random.default_rng(1303)
    for T, H in ((4, 3), (1, 2)):
        W_hh, x, h0 = rng.normal(size=(H, H)), rng.normal(size=(T, H)), rng.normal(size=H)

        def states(start, x=x, W_hh=W_hh):
            h = [start]
            for x_t in x:
                h.append(np.tanh(W_hh @ h[-1] + x_t))
            return np.stack(h)

        h = states(h0)
        right = np.stack([np.imag(states(h0 + 1e-30j * e)[-1]) / 1e-30 for e in np.eye(H)], axis=1)
        jacobians = [(1 - h[t] ** 2)[:, None] * W_hh for t in range(T + 1)]
        name = f"{T} step{'s' * (T > 1)}, {H} units"
        answer = check.call(f"{name}: runs", product, h, W_hh)
        check.shape(f"{name}: shape", answer, (H, H), letters="(H, H)")
        check.close(
            f"{name}: derivative of the last state",
            answer,
            right,
            mistakes=[
                Mistake(_chain(jacobians[1:][::-1]), "The order is reversed. The latest step stands on the left."),
                Mistake(
                    _chain(jacobians[:-1]),
                    "The slopes are one step too early: step t ends in h[t], so its slope is 1 - h[t]**2.",
                ),
                Mistake(
                    _chain(jacobians), "One factor too many: there are T steps and T + 1 states. h[0] has no slope."
                ),
                Mistake(right.T, "That is the transpose: rows belong to the last state, columns to the first."),
            ],
            hint="Start with the identity; for t = 1 ... T multiply from the left by diag(1 - h[t]**2) @ W_hh.",
        )


def _chain(jacobians):
    total = np.eye(len(jacobians[0]))
    for J in jacobians:
        total = J @ total
    return total


@exercise("1.3")
def check_clip_by_norm(check: Check, clip: Callable) -> None:
    """A function ``(grads, max_norm)`` -> the clipped arrays, in a list."""
    rng = np.random.default_rng(1304)
    grads = [3 * rng.normal(size=(2, 3)), rng.normal(size=4)]
    norm = float(np.sqrt(sum((g**2).sum() for g in grads)))
    for max_norm, case in ((1.0, "a large gradient"), (100.0, "a small gradient")):
        answer = check.call(f"{case}: runs", clip, grads, max_norm)
        scale = min(1.0, max_norm / norm)
        if not isinstance(answer, list | tuple) or len(answer) != 2:
            check.fail(f"{case}: two arrays", "Return a list with one clipped array for each given one.")
        each = [g * min(1.0, max_norm / float(np.linalg.norm(g))) for g in grads]
        entries = [np.clip(g, -max_norm, max_norm) for g in grads]
        always = [g * max_norm / norm for g in grads]
        largest = max(float(np.linalg.norm(g)) for g in grads)
        by_largest = [g * min(1.0, max_norm / largest) for g in grads]

        def flat(arrays):
            return np.concatenate([np.ravel(a) for a in arrays])

        check.close(
            f"{case}: the clipped arrays",
            flat(answer),
            flat(grads) * scale,
            rtol=1e-5,
            mistakes=[
                Mistake(flat(always), "A gradient below the limit stays as it is. The scale is at most 1."),
                Mistake(flat(each), "One norm for all arrays together; otherwise the direction of the step changes."),
                Mistake(
                    flat(entries), "That cuts entries, which turns the direction. Scale all of them by one number."
                ),
                Mistake(flat(by_largest), "The norm of all entries together, not of the largest array."),
                Mistake(flat(grads), "Nothing was clipped, although the norm is above the limit."),
            ],
            hint="norm = sqrt of the sum of all squares; scale = min(1, max_norm / norm); multiply every array.",
        )


@exercise("1.3")
def check_orthogonal(check: Check, orthogonal: Callable) -> None:
    """A function ``(rng, H)`` -> a random orthogonal matrix."""
    for H in (4, 9):
        Q = check.call(f"runs for H = {H}", orthogonal, np.random.default_rng(H), H)
        check.shape(f"shape for H = {H}", Q, (H, H), letters="(H, H)")
        Q = np.asarray(Q, float)
        values = np.linalg.svd(Q, compute_uv=False)
        radius = np.abs(np.linalg.eigvals(Q)).max()
        if abs(radius - 1) < 1e-6 and values.max() > 1 + 1e-6:
            check.fail(
                f"all singular values are 1 for H = {H}",
                "The spectral radius is 1, but that is not enough: singular values go from "
                f"{values.min():.2f} to {values.max():.2f}. Take the Q of a QR decomposition.",
            )
        check.true(
            f"all singular values are 1 for H = {H}",
            np.allclose(values, 1, atol=1e-8),
            hint="An orthogonal matrix keeps every length. np.linalg.qr of a random matrix gives one.",
        )
        other = np.asarray(orthogonal(np.random.default_rng(H + 1), H), float)
        check.true(
            f"another generator gives another matrix for H = {H}",
            not np.allclose(Q, other),
            hint="Use the generator rng. The identity is orthogonal, but not random.",
        )


@exercise("1.3")
def check_forget_bias_for_lag(check: Check, forget_bias: Callable) -> None:
    """A function ``(k, share)`` -> the forget bias with which the direct path keeps a share over k steps."""
    for k, share in ((10, 0.5), (100, 0.5), (25, 0.1)):
        f = share ** (1 / k)
        right = np.log(f / (1 - f))
        bias = check.call(f"runs for {k} steps, share {share}", forget_bias, k, share)
        check.close(
            f"bias for a share of {share} after {k} steps",
            bias,
            right,
            mistakes=[
                Mistake(f, "That is the gate. Its bias is the number whose sigmoid it is."),
                Mistake(np.log(share / (1 - share)) / k, "Take the k-th root first, then undo the sigmoid."),
                Mistake(-right, "The sign is turned around: a long memory needs a large positive bias."),
                Mistake(np.log(k), "A good rule of thumb, but this asks for the exact value."),
                Mistake(1 / (1 + np.exp(-f)), "The sigmoid goes from bias to gate. You need its inverse."),
            ],
            hint="f ** k = share gives f; sigmoid(bias) = f gives bias = ln(f / (1 - f)).",
        )
