"""The jobs of a chaos run: each one writes what it does into tables of its own, under the fence of its run."""
