"""An avatar's sandbox: the files that a hostile program may have written."""
