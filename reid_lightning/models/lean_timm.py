"""timm, imported without wandb: timm's own training script would use it, and it takes a third of a second."""

import sys

if "timm" in sys.modules or "wandb" in sys.modules:
    import timm
else:
    sys.modules["wandb"] = None  # type: ignore[assignment]  # an import of it fails, which timm is prepared for
    try:
        import timm
    finally:
        del sys.modules["wandb"]

__all__ = ["timm"]
