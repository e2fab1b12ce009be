"""Vocabularies for a text: trained on it, or a model's own with pieces of it added."""
