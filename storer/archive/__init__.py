"""The archive: one compressed tar for each kata, in a directory or an S3-compatible store."""
