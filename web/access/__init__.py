"""Who may do what in a browser: secret links, tokens of forms, headers, limits."""
