"""Read text files into blocks of documents, one reader a format.

Paths flow in; `InputFile` (found), `Part` or `RawBlock` (divided) and `DocumentBlock` (read) flow out.
Which documents there are and how they are named depends on the files' contents alone, never on how they are divided
or compressed.
"""
