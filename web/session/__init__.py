"""What a session came to: its lights, how they lie in time, and pictures of them."""
