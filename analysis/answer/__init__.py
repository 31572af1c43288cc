"""The answer of a study in a few lines, from the contrasts that every other page shows."""
