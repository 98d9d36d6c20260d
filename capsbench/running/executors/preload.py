"""Does once, when the server of processes imports this module, what each process would do again.

The processes that it forks run the source of that time, whatever is committed or edited during the run.
"""

from contextlib import suppress

from capsbench.records.software.provenance import read_source_state

read_source_state()
with suppress(Exception):  # a network that needs the kernels says what is wrong with them
    from capsbench_kernels.passes.cpu.launch import load_kernels

    load_kernels()
