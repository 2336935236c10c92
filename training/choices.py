"""Names that settings offer; without torch, so that settings can be checked by light tasks."""

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Where a loop can run."""

PRECISIONS = ("auto", "fp32", "bf16")
"""In which precision its forward pass can run."""
