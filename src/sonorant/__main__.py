"""`python -m sonorant`, which torchrun needs."""

from sonorant.cli import main

if __name__ == "__main__":  # and not when a process that it starts imports it
    main()
