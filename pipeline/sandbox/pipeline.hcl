# What the pipeline's login may do: read its own credentials and give back those made for it. Nothing else.
path "secret/data/pipeline/*" {
  capabilities = ["read"]
}
path "database/creds/pipeline_*" {
  capabilities = ["read"]
}
# Only a lease whose name one knows can be revoked, and only its receiver knows it.
path "sys/leases/revoke" {
  capabilities = ["update"]
}
