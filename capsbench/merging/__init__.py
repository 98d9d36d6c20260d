"""Joins results folders that were made apart, such as on several machines, into one.

Nothing of the folders is changed, and nothing in the merged folder is overwritten by something else. Two results of one thing are
a conflict, unless the user prefers a folder.

Numbers of runs count the runs of one folder, so they stay as they are, in notes and in records. Two rules make them right in the
merged folder:

- The latest run of the merged folder is that of all folders together: the note of a folder's latest run is repeated with the
  highest number of all folders. Notes of one number are one run (`capsbench.records.runs`).
- A network that no folder was still to train again is not to be trained again in the merged one, whatever the numbers of other
  folders' runs (`capsbench.merging.union.keep_trained`).
"""

from capsbench.merging.conflicts import ConflictError
from capsbench.merging.merger import Merged, merge

__all__ = ["ConflictError", "Merged", "merge"]
