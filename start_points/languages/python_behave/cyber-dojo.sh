python3 -m behave
