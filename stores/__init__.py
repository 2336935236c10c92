"""Side effects outside Flyte: MLflow tracking and registry, S3 artifacts, git model versions."""
