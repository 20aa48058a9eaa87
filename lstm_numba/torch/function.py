"""The kernels as one node of PyTorch's autograd graph."""

from typing import Any

import torch
from torch import Tensor

from lstm_numba.torch.engine import Call


class Recurrence(torch.autograd.Function):
    """``apply(call, x, h0, c0, *weights) -> y, h_n (, c_n)``; ``c0`` is None for cells without one."""

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, h0: Tensor | None, c0: Tensor | None, *weights: Tensor) -> Any:
        """Run the layers and keep what the gradient needs."""
        # Saved, so that autograd complains if one of them is written to before the gradient is computed.
        ctx.save_for_backward(x, h0, c0, *weights)
        ctx.set_materialize_grads(False)
        results, ctx.caches = call.forward(x, _parts(call, h0, c0), training=True)
        ctx.call, ctx.shape = call, results[0].shape
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Gradients of all inputs."""
        saved = ctx.saved_tensors
        call: Call = ctx.call
        with torch.no_grad():
            results = _gradients(ctx, call, saved, grads)
        wanted = [grad if needed else None for grad, needed in zip(results, ctx.needs_input_grad[1:], strict=True)]
        if torch.is_grad_enabled():  # create_graph=True
            present = [grad for grad in wanted if grad is not None]
            refusing = iter(_Refusal.apply(len(present), *present, *[t for t in (*saved, *grads) if t is not None]))
            wanted = [None if grad is None else next(refusing) for grad in wanted]
        return (None, *wanted)


def _parts(call: Call, h0: Tensor | None, c0: Tensor | None) -> list[Tensor | None]:
    return [h0, c0] if call.bound.shape.cell == "lstm" else [h0]


def _gradients(
    ctx: Any, call: Call, saved: tuple[Tensor | None, ...], grads: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    x, h0, c0 = saved[:3]
    assert x is not None
    # The kernels use their activations up; a second backward (retain_graph=True) computes them again.
    caches, ctx.caches = ctx.caches, None
    if caches is None:
        _, caches = call.forward(x, _parts(call, h0, c0), training=True)
    dy, dstate = grads[0], grads[1:]
    if dy is None:
        dy = x.new_zeros(ctx.shape)
    dx, initial, dweights = call.backward(dy, dstate, caches)
    return [dx, *initial, *[None] * (2 - len(initial)), *dweights]


class _Refusal(torch.autograd.Function):
    """Hands the first n tensors on, and says why they have no gradient themselves when it is asked for."""

    @staticmethod
    def forward(ctx: Any, n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors[:n])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError(
            "lstm_numba.torch computes first derivatives only, and a second one was asked for (a gradient of a "
            "gradient, made with create_graph=True). lstm_numba.torch.restore(model) gives torch.nn's modules back, "
            "which have second derivatives on the CPU"
        )
