"""The end of day of a lender: users and trades come as files, plans go out as one. README.md tells how to run it."""
