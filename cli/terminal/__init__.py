"""What a person sees: text that is harmless, tables, progress, lights."""
