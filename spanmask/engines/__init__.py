"""Who runs the work: units in, results out, in any order. Correctness never depends on the engine."""
