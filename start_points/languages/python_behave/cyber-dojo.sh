python3 -m behave --junit --junit-directory results
