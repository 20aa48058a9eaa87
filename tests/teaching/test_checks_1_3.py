"""The checks of chapter 1.3 accept the right answer and name the mistake of a wrong one."""

import numpy as np
import pytest

from lstm_numba.teaching import assert_rejects
from lstm_numba.teaching.checks import ch_1_3 as checks


def steps(rate, tiny):
    return int(np.floor(np.log(tiny) / np.log(rate))) + 1


def jacobian(h, W):
    return (1 - h**2)[:, None] * W


def product(h, W, order="left", first=1, last=None):
    total = np.eye(len(W))
    for h_t in h[first:last]:
        J = jacobian(h_t, W)
        total = J @ total if order == "left" else total @ J
    return total


def norm_of(grads):
    return np.sqrt(sum((g**2).sum() for g in grads))


def clip(grads, max_norm):
    return [g * min(1.0, max_norm / norm_of(grads)) for g in grads]


def orthogonal(rng, H):
    return np.linalg.qr(rng.normal(size=(H, H)))[0]


def bias(k, share):
    f = share ** (1 / k)
    return np.log(f / (1 - f))


def test_right_answers_pass():
    checks.check_steps_to_vanish(steps).expect_pass()
    checks.check_jacobian(jacobian).expect_pass()
    checks.check_product_of_jacobians(product).expect_pass()
    checks.check_clip_by_norm(clip).expect_pass()
    checks.check_orthogonal(orthogonal).expect_pass()
    checks.check_forget_bias_for_lag(bias).expect_pass()


def scaled_to_radius_one(rng, H):
    W = rng.normal(size=(H, H))
    return W / np.abs(np.linalg.eigvals(W)).max()


WRONG = [
    (checks.check_steps_to_vanish, lambda r, t: np.log(t) / np.log(r), "Round up"),
    (checks.check_steps_to_vanish, lambda r, t: steps(r, t) - 1, "not yet below"),
    (checks.check_steps_to_vanish, lambda r, t: np.log(r) / np.log(t), "upside down"),
    (checks.check_steps_to_vanish, lambda r, t: 1 / (1 - r), "time constant"),
    (checks.check_steps_to_vanish, lambda r, t: 5, "take logarithms"),
    (checks.check_jacobian, lambda h, W: jacobian(h, W).T, "transpose"),
    (checks.check_jacobian, lambda h, W: W * (1 - h**2), "wrong side"),
    (checks.check_jacobian, lambda h, W: W, "slope of tanh is missing"),
    (checks.check_jacobian, lambda h, W: (1 - np.tanh(h) ** 2)[:, None] * W, "already tanh"),
    (checks.check_jacobian, lambda h, W: np.diag(1 - h**2), "tanh alone"),
    (checks.check_jacobian, lambda h, W: 2 * W, "diag(1 - h**2)"),
    (checks.check_product_of_jacobians, lambda h, W: product(h, W, order="right"), "order is reversed"),
    (checks.check_product_of_jacobians, lambda h, W: product(h, W, first=0, last=-1), "one step too early"),
    (checks.check_product_of_jacobians, lambda h, W: product(h, W, first=0), "One factor too many"),
    (checks.check_product_of_jacobians, lambda h, W: product(h, W).T, "transpose"),
    (checks.check_product_of_jacobians, lambda h, W: np.linalg.matrix_power(W, len(h) - 1), "Start with the identity"),
    (checks.check_clip_by_norm, lambda g, m: [a * m / norm_of(g) for a in g], "at most 1"),
    (checks.check_clip_by_norm, lambda g, m: [a * min(1, m / np.linalg.norm(a)) for a in g], "One norm for all"),
    (checks.check_clip_by_norm, lambda g, m: [np.clip(a, -m, m) for a in g], "turns the direction"),
    (checks.check_clip_by_norm, lambda g, m: [a * min(1, m / max(map(np.linalg.norm, g))) for a in g], "largest array"),
    (checks.check_clip_by_norm, lambda g, m: list(g), "Nothing was clipped"),
    (checks.check_clip_by_norm, lambda g, m: [0 * a for a in g], "sqrt of the sum"),
    (checks.check_clip_by_norm, lambda g, m: g[0], "one clipped array"),
    (checks.check_orthogonal, scaled_to_radius_one, "not enough"),
    (checks.check_orthogonal, lambda rng, H: rng.normal(size=(H, H)), "keeps every length"),
    (checks.check_orthogonal, lambda rng, H: np.eye(H), "not random"),
    (checks.check_forget_bias_for_lag, lambda k, s: s ** (1 / k), "That is the gate"),
    (checks.check_forget_bias_for_lag, lambda k, s: np.log(s / (1 - s)) / k, "root first"),
    (checks.check_forget_bias_for_lag, lambda k, s: -bias(k, s), "sign"),
    (checks.check_forget_bias_for_lag, lambda k, s: np.log(k), "exact value"),
    (checks.check_forget_bias_for_lag, lambda k, s: 1 / (1 + np.exp(-(s ** (1 / k)))), "need its inverse"),
    (checks.check_forget_bias_for_lag, lambda k, s: 0.0, "gives f"),
]


@pytest.mark.parametrize(("check", "wrong", "hint"), WRONG, ids=[f"{c.__name__}-{h}" for c, _, h in WRONG])
def test_wrong_answers_get_their_hint(check, wrong, hint):
    assert_rejects(check, wrong, hint_contains=hint)
