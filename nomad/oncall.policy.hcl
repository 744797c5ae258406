# What the token of who is on call needs: looks at jobs and their logs, starts one now, and changes none.

namespace "default" {
  capabilities = ["dispatch-job", "list-jobs", "read-job", "read-logs"]
}
