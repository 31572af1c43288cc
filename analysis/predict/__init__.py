"""The strategy predictor: features, a forest kept as data, evaluation, recommendation."""
