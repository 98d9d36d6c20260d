"""Measures, a folder each: a trained network and its data -> tidy rows."""

from capsbench.measures.base import Measure, Subject
from capsbench.measures.build import make_measure

__all__ = ["Measure", "Subject", "make_measure"]
