"""The storer: katas, their avatars and their history."""
