"""Files that ship with the package: BERT's two vocabularies and a public-domain text for the demo."""
