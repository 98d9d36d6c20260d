"""The sections of a report that are about no one measure."""
