"""Models, data preparation, loops and evaluation: a plain library without Flyte, MLflow or S3."""
