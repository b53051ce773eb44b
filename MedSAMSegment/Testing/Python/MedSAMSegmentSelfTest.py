"""The module's self test, as a unit test that ctest runs inside Slicer.  It uses no network."""

from MedSAMSegment import MedSAMSegmentTest

__all__ = ["MedSAMSegmentTest"]
