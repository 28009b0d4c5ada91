"""`python -m sonorant`, which torchrun needs."""

from sonorant.cli import main

main()
