# What the token needs with which bin/nomad-deploy is typed: nomad acl policy apply deploy FILE (docs/operations.md).
# It reads and writes jobs. It reads no task's log, file or token, and starts no program in a task.

namespace "default" {
  capabilities = ["list-jobs", "read-job", "submit-job"]
}

# Only with `driver = "exec"`: the jobs ask for the volume.
host_volume "pipeline" {
  policy = "write"
}
