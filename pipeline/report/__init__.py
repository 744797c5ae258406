"""Report: the dashboards as one page of HTML, for people without Metabase: no server, no script."""
