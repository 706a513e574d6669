"""One daemon: its parts, built by keyword, and its life from boot to the end. Built and run by `service`."""
