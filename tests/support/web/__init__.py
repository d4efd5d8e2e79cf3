"""What tests of the web tier share."""
