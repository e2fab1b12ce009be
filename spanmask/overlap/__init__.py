"""Which documents of a corpus hold text of evaluation files: by the n-grams of words that they share.

Evaluation files and inputs flow in; documents with their counts, and lists of identifiers for ``exclude``, flow out.
"""
