"""What tests of the runner share."""
