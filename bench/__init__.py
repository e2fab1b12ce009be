"""How fast spanmask is: one file a question, baselines beside it, results as JSON, tables made from them.

``protocol`` says how everything is measured; ``README.md`` has the figures and how to reproduce them.
"""
