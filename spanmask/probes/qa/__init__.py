"""Extractive question answering: files of questions in, windows of passages out, and of logits over them the answers."""
