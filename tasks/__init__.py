"""Thin Flyte-typed wrappers over the rooms below, one module per role."""
