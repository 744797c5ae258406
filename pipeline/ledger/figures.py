"""Figures: the queries of moments that Prometheus is told, each of whose it is and when."""

TABLES_FRESH_AS_OF = (
    "SELECT source || '.' || table_name, extract(epoch FROM snapshot_at) FROM ops.watermark ORDER BY 1"
)
BACKUPS_TAKEN = "SELECT database, extract(epoch FROM max(taken_at)) FROM ops.backup GROUP BY 1 ORDER BY 1"
DRILLS_HELD = "SELECT database, extract(epoch FROM max(finished_at)) FROM ops.drill WHERE held GROUP BY 1"
