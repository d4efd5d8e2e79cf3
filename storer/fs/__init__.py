"""Files: durable writes, the write-ahead log, trees of files, JSON."""
