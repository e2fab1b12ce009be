"""Plan, write, finalize: a corpus in, a finished dataset out."""
