"""HTTP: what orchestrators ask a daemon. It reads answers that it is given and changes nothing."""
