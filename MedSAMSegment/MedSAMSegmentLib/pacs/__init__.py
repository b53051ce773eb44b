"""To a hospital's archive and back: find, get and send over DIMSE and DICOMweb.

The network libraries come with the extra ``pacs`` and are imported when they are used.  No message and no log line of
this package holds a DICOM value: codes and counts only.  What a search finds goes to whoever asked, and nowhere else.
"""

from __future__ import annotations
