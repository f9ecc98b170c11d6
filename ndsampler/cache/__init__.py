"""
The cache of converted images: one entry for each source file, whole or absent.

Names: the file name of an entry contains the identity of its source (path, size, time and a sample, or a hash
of the content), and the name of its folder contains the backend and a hash of its settings. A changed source
or other settings therefore lead to another entry (``identity``, ``names``).

Writing: a writer works in its own folder inside ``_partial`` and holds the lock of that folder until it ends
(``partial``). It converts the source, compares the result with the source, and appends a label with the
source's identity and a checksum of the file (``writer``, ``comparison``, :mod:`ndsampler.backends.label`). It
then seals the file by setting the microseconds of its modification time to a number derived from the
checksum, and renames it to the entry's name, so no other process ever sees an incomplete entry.

Reading: a reader (``frame_cache``) trusts an entry with an intact seal. A write to the file, or a copy that
does not preserve times, breaks the seal. The whole file is then compared with its checksum: if they match,
the entry is sealed again, otherwise it is made again. ``handles`` keeps files open.

Maintenance: an entry whose source has changed is stale and is never read again. ``prune`` removes stale
entries and the folders of writers that have died, ``inventory`` lists the contents of a workdir, and
``verify`` reads every entry back.
"""

from __future__ import annotations
