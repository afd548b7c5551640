"""`python -m normzoo_bench.cli`."""

from normzoo_bench.cli.app import main

main()
