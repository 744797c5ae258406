"""How what was read becomes what people see: merged, or in place of the table."""
