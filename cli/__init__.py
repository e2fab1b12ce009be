"""The command line: one file a command, each thin: parse, configure, one library call, print. Installed as ``spanmask_cli``."""
