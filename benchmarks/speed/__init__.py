"""What daemons can do, measured: `./dev bench`. Installed with nothing; prints, and changes no server but its own."""
