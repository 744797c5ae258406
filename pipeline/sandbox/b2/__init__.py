"""Backblaze B2 on one machine, for the sandbox and the tests: the native API (v4) over HTTP on loopback.

The answers come from the simulator that Backblaze ships inside its SDK, fixed where it is too simple to
test a backup with: content and metadata are on disk and survive a restart or a crash, tokens, keys,
capabilities, name prefixes and Object Lock are enforced, lifecycle rules run on a clock that can be moved,
and faults happen on demand (see `control`).

What it does NOT do, so that nobody trusts it for more than it is:
 - No TLS, no S3 API, no downloads without authorization, no public buckets, no replication, no event
   notifications, no copies on the server, no legal holds beyond keeping their value.
 - Server-side encryption is reported as B2 does by default, but content lies on disk as it was sent.
 - One account; no billing, no caps other than the one put there as a fault; no rate limits but faults.
 - Lifecycle rules run when the clock is moved, once for each day; B2 runs them about once a day.
 - Tokens are forgotten at a restart (B2 keeps them for a day), which clients see as an expired token.
 - Error codes follow B2's documentation, the wording of messages does not.
"""
