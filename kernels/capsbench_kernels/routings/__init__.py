"""The published routings, as loops of vote passes."""
