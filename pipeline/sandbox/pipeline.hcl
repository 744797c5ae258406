# What the pipeline's login may do: read its own credentials and give back those made for it. Nothing else.
path "secret/data/pipeline/*" {
  capabilities = ["read"]
}
path "database/creds/pipeline_*" {
  capabilities = ["read"]
}
# Private keys are for restores, and the keys that can change the bucket for a person.
path "secret/data/pipeline/restore/*" {
  capabilities = ["deny"]
}
path "secret/data/pipeline/admin/*" {
  capabilities = ["deny"]
}
# Backups are signed, by keys that nobody reads; their public halves are for `pipeline check`.
path "transit/sign/pipeline-backup-*" {
  capabilities = ["update"]
}
path "transit/keys/pipeline-backup-*" {
  capabilities = ["read"]
}
# Only a lease whose name one knows can be revoked, and only its receiver knows it.
path "sys/leases/revoke" {
  capabilities = ["update"]
}
# The key to Metabase is made by the pipeline itself; its administrator's password is a person's to write.
path "secret/data/pipeline/metabase/api_key" {
  capabilities = ["create", "read", "update"]
}
path "secret/data/pipeline/metabase/+/api_key" {
  capabilities = ["create", "read", "update"]
}
