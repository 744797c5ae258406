# What the login of a restore may do: read the private keys and the B2 keys, reach the drill server, and record.
path "secret/data/pipeline/restore/*" {
  capabilities = ["read"]
}
path "secret/data/pipeline/b2/*" {
  capabilities = ["read"]
}
path "secret/data/pipeline/drill" {
  capabilities = ["read"]
}
path "secret/data/pipeline/drill_superuser" {
  capabilities = ["read"]
}
path "secret/data/pipeline/warehouse" {
  capabilities = ["read"]
}
