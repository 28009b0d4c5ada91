"""The parts of objectives.py: who takes part, what is done with them, and the table made of it."""
