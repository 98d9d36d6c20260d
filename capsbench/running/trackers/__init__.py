"""Trackers: the cells of a run as runs of TensorBoard, MLflow, W&B or a user's own tool, live while they train."""

from capsbench.running.trackers.base import Status, TrackedRun, Tracker, list_parameters, name_number, select_curves

__all__ = ["Status", "TrackedRun", "Tracker", "list_parameters", "name_number", "select_curves"]
