"""What is seen of the platform: only this room asks the ledger, the bucket, the work folders and the catalog.

`pipeline status` and `pipeline watch` judge what comes of it, and ask nobody themselves.
"""
