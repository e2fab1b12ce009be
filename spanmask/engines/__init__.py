"""Who runs the work: units in, receipts out, in any order. Correctness never depends on the engine."""
