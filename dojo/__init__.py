"""What both services share: the dojo's ids and names, its containers, and the serving of RPCs."""
