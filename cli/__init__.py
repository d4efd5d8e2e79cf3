"""The command line of the services: it uses nothing of the storer but its RPCs."""
