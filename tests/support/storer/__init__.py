"""What tests of the storer share."""
