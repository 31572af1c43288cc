"""Runs in the formats of other tools: Prometheus text, OpenTelemetry's JSON, MLflow."""
