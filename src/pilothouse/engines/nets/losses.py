"""What networks minimise. `outputs` are torch tensors [n, members, outputs], `y` float values or int64 classes."""

from __future__ import annotations

from typing import Any

_LEAST_SHARE = 1e-7


def member_losses(outputs: Any, y: Any, *, absolute: bool) -> Any:
    """[n, members]: each member judged by itself, by its squared or absolute error or its log loss."""
    import torch.nn.functional as f

    members = outputs.shape[1]
    if y.dtype.is_floating_point:
        errors = outputs[:, :, 0] - y[:, None]
        return errors.abs() if absolute else errors.square()
    if outputs.shape[2] == 1:
        hot = y[:, None].to(outputs.dtype).expand(-1, members)
        return f.binary_cross_entropy_with_logits(outputs[:, :, 0], hot, reduction="none")
    flat = f.cross_entropy(outputs.flatten(0, 1), y.repeat_interleave(members), reduction="none")
    return flat.view(-1, members)


def mean_loss(outputs: Any, y: Any, w: Any | None, *, absolute: bool) -> float:
    """The weighted loss of what the members predict together."""
    import torch

    if y.dtype.is_floating_point:
        losses = member_losses(outputs.mean(1, keepdim=True), y, absolute=absolute)[:, 0]
    elif outputs.shape[2] == 1:
        signed = torch.where(y[:, None] == 1, outputs[:, :, 0], -outputs[:, :, 0])
        losses = -torch.sigmoid(signed).mean(1).clamp_min(_LEAST_SHARE).log()
    else:
        shares = torch.softmax(outputs, 2).mean(1)
        losses = -shares.gather(1, y[:, None])[:, 0].clamp_min(_LEAST_SHARE).log()
    return float(losses.mean() if w is None else (losses * w).sum() / w.sum())
