"""`cyber-dojo replay`: run recorded lights again, and compare the colours."""
