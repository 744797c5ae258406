# Written by pipeline/nomad/jobs.py from pipeline/chains/duties.py: change it there.

variable "datacenters" {
  type        = list(string)
  default     = ["*"]
  description = "where the jobs may run"
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "raw_exec, or exec if the clients have the home as a host volume"
}

variable "release" {
  type        = string
  description = "the address of the release file, as an artifact's source"
}

variable "checksum" {
  type        = string
  description = "sha256:... of that file"
}

variable "python" {
  type        = string
  default     = "/usr/bin/python3"
  description = "Python 3.11, 3.12 or 3.13 on the nodes"
}

variable "user" {
  type        = string
  default     = "pipeline"
  description = "the user of the jobs, on the nodes"
}

variable "home" {
  type        = string
  default     = "/var/lib/pipeline"
  description = "the home of that user, where the jobs keep their data"
}

variable "path" {
  type        = string
  default     = "/usr/local/bin:/usr/bin:/bin"
  description = "the PATH with pg_dump, gpg and git"
}

variable "settings" {
  type        = string
  default     = "/etc/pipeline/luigi.cfg"
  description = "luigi.cfg on the nodes"
}

variable "vault" {
  type        = string
  description = "the address of Vault"
}

variable "schedules" {
  type        = map(string)
  default     = {}
  description = "other schedules than the default ones, in UTC: { etl = \"15 2 * * *\" }"
}

variable "workers" {
  type        = number
  default     = 1
  description = "the number of `pipeline worker` processes"
}

variable "node" {
  type        = string
  default     = ""
  description = "the node of all jobs except workers and sync, if there are several nodes"
}

variable "scheduler_address" {
  type        = string
  default     = "127.0.0.1"
  description = "the address that the scheduler listens on, set by bin/nomad-deploy"
}

variable "scheduler_port" {
  type        = number
  default     = 8082
  description = "the port that the scheduler listens on, set by bin/nomad-deploy"
}

variable "metabase" {
  type        = string
  default     = ""
  description = "the address of Metabase's release file, if Metabase is a job"
}

variable "metabase_checksum" {
  type        = string
  default     = ""
  description = "sha256:... of that file"
}

variable "metabase_user" {
  type        = string
  default     = "metabase"
  description = "the user of that job, which may read none of the pipeline's files"
}

job "analysts" {
  id          = "pipeline-analysts"
  name        = "pipeline-analysts"
  type        = "batch"
  datacenters = var.datacenters

  dynamic "constraint" {
    for_each = var.node == "" ? [] : [var.node]

    content {
      attribute = "${node.unique.name}"
      value     = constraint.value
    }
  }

  periodic {
    crons            = [lookup(var.schedules, "analysts", "30 4 * * *")]
    time_zone        = "UTC"
    prohibit_overlap = true
  }

  group "analysts" {
    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    dynamic "volume" {
      for_each = var.driver == "exec" ? ["pipeline"] : []
      labels   = ["pipeline"]

      content {
        type   = "host"
        source = "pipeline"
      }
    }

    task "analysts" {
      driver       = var.driver
      user         = var.user
      kill_signal  = "SIGTERM"
      kill_timeout = "30s"

      dynamic "volume_mount" {
        for_each = var.driver == "exec" ? ["pipeline"] : []

        content {
          volume      = "pipeline"
          destination = var.home
        }
      }

      artifact {
        source      = var.release
        destination = "local/pipeline.pex"
        mode        = "file"

        options {
          checksum = var.checksum
        }
      }

      identity {
        name = "vault"
        aud  = ["vault.io"]
        file = true
        ttl  = "1h"
      }

      config {
        command = var.python
        args    = ["local/pipeline.pex", "run", "analysts"]
      }

      env {
        HOME              = var.home
        PATH              = var.path
        LUIGI_CONFIG_PATH = var.settings
        PEX_ROOT          = "${var.home}/release"
        VAULT_ADDR        = var.vault
        VAULT_ROLE        = "pipeline-analysts"
      }

      resources {
        cpu    = 500
        memory = 1800
      }
    }
  }
}
