"""Run jobs on a cluster of Slurm, through submitit: an array task a job, or several short ones packed."""

from capsbench.running.executors.slurm.executor import SlurmExecutor

__all__ = ["SlurmExecutor"]
