"""
The cache of converted images: one entry for each source file, whole or absent.

An entry is named by the identity of its source (path, size, time and a sample, or a hash of the content) and
lies in a folder that is named by the backend and its settings, so a changed source or other settings lead
to another entry (``identity``, ``names``). A writer works in its own folder inside ``_partial``, whose
lock it holds while it lives (``partial``). It converts the source, compares the result with it, and
appends a label: the source's identity and a checksum of the file (``writer``, ``comparison``,
:mod:`ndsampler.backends.label`). It then seals the file, by setting the microseconds of its time of change to
a number derived from the checksum, and renames it to the entry's name, so that no other process ever sees
half an entry. A reader (``frame_cache``) takes an entry with an intact seal as it is; any write to the file,
or a copy that does not keep times, breaks the seal, and then the whole file is compared with its checksum:
if they agree it is sealed again, otherwise it is made again. Open files are kept in ``handles``. An entry
whose source has changed is stale: nothing reads it again, and ``prune`` removes it, as it removes what
writers that died left behind; ``inventory`` lists what is in a workdir, and ``verify`` reads every
entry back.
"""

from __future__ import annotations
