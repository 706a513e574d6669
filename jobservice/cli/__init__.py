"""The command line: parse, call, print. One file per noun; no rule of the service is decided here."""
