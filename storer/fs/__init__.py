"""Files: durable writes, the write-ahead log, walks of file trees, JSON."""
