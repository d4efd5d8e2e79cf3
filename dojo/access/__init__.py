"""Who may call what: TLS, callers with roles, what they may do, and the record of it."""
