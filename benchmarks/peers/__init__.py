"""Other Python job queues beside this one: `./dev bench --peers`. Each in an environment of its own."""
