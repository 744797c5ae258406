"""The work folder: where the steps of a backup leave what the next one needs."""
