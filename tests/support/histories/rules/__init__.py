"""The rules by which histories are judged."""
