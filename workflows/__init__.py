"""The chains of tasks: one training run from data to a verified, priced, published model."""
