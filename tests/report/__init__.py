"""The report: what is asked, drawn and written."""
