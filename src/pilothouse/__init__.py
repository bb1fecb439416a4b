"""Pilothouse: SageMaker Autopilot and hyperparameter tuning on one's own hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilothouse.client import Model, fit

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "fit"]


def __getattr__(name: str) -> Any:
    """`fit` and `Model`, imported on first use: `import pilothouse` itself loads nothing."""
    if name in ("Model", "fit"):
        from pilothouse import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
