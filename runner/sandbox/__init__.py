"""An avatar's sandbox. A hostile program may have written any of the files in it."""
