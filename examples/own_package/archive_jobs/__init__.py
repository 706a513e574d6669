"""Job classes of a package of one's own: the daemon finds them here once the configuration names the package."""
