"""What lies in the bucket: manifests, the backups that there are, what is kept of them and brought here."""
