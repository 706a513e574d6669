"""`jobservice demo`: the whole service in one go, on real servers and real files, and whether it kept its word."""
