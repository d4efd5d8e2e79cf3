"""What storer and runner share: the words of a dojo, its containers, and the serving of RPCs."""
