"""Run jobs on a Ray: one that starts on this machine, or a cluster of machines without a shared disk.

The executor is not imported here: nodes import `task`, and a worker of Ray needs no torch, which takes seconds to import.
"""
