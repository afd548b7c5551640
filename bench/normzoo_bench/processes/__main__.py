"""``torchrun … -m normzoo_bench.processes ARGUMENTS``: the command line with ranks on several machines."""

from normzoo_bench.processes.machines import main

main()
