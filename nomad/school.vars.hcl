# The school's own values, for every job: bin/nomad-deploy --vars nomad/school.vars.hcl
# Copy it, and put yours in. What is not here has the default that each job file names. No credential stands here.

# Where the nodes fetch what bin/release has made, and the checksum that stands beside it.
release  = "https://files.example.org/pipeline-0.1.0.pex"
checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

vault = "https://vault.example.org:8200"

# Where there are several nodes: the one that has all but the workers, and how many of these, over all nodes.
# node    = "node-1"
# workers = 2

# Where Metabase is a job: one release of it, and its checksum.
# metabase          = "https://files.example.org/metabase-0.63.1.jar"
# metabase_checksum = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

# Other times than those of the job files, in UTC.
schedules = {
  # etl        = "15 2 * * *"
  # backup-hr  = "0 1 * * *"
}
