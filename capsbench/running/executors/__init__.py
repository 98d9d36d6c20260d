"""Run jobs on machines: one module for each way to start them."""
