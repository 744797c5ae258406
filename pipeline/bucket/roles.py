"""The least that each part of the pipeline needs of a B2 application key.

Make each key for one bucket only; then none needs `listBuckets` to find it (the auditor and the admin need it
to read the bucket's settings). A key with more capabilities works too, and is worth less.
"""

from typing import Final

WRITER: Final = frozenset({"writeFiles", "listFiles", "readFiles"})
"""Uploads backups. `listFiles` finds what is already there and what an interrupted upload left behind;
`readFiles` is what B2 asks for to copy, on its side, the backups that are kept beyond their age.

It cannot delete or unlock. It can hide (B2 has no capability for that alone), so give the bucket a
default retention: then what it hides outlives it. With that default a writer needs no `writeFileRetentions`;
only `retain_until` on a single object does.
"""

VERIFIER: Final = frozenset({"readFiles", "listFiles", "readFileRetentions"})
"""Reads backups back and compares; `readFileRetentions` shows until when each is locked."""

RESTORER: Final = frozenset({"readFiles", "listFiles"})
"""Lists and downloads backups."""

BY_HAND: Final = RESTORER | {"listBuckets"}
"""Restores without this program: B2's own command line refuses to work without `listBuckets`."""

AUDITOR: Final = frozenset({"listBuckets", "readBucketRetentions"})
"""Reads the bucket's lifecycle rules and lock, for `pipeline check` and `pipeline watch`."""

ADMIN: Final = frozenset({"listBuckets", "readBucketRetentions", "writeBuckets", "writeBucketRetentions"})
"""Sets lifecycle rules and lock, for `pipeline check --fix`. Make it for the day and delete it."""
