"""The border between the CPU half and everything that trains: FORMAT.md (normative), and the code that keeps to it."""
